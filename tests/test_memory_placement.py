"""Where weights lie and what it costs: placement, spilling, streaming, and what a budget buys."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from dnnlab import Device, Embedding, Linear, Memory, Network, device, memories, on, zoo
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.extremes import Max
from dnnlab.memory import Spill, afford, compare, footprint, place, price, spill
from dnnlab.memory.placement import weights_read
from dnnlab.memory.spilling import WAYS

SMALL = {"layers": 2, "width": 64, "heads": 8, "kv_heads": 2, "hidden": 96, "vocabulary": 100}
LLAMA = zoo.llama(1, 1, **SMALL)
CARD = [Memory("vram", "12 GB", "360 GB/s"), Memory("ram", "64 GB", "60 GB/s"), Memory("disk", "2 TB", "7 GB/s")]
SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=6)
LEVELS = st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 500)), min_size=1, max_size=3)


def chain(widths: list[int]) -> Network:
    return Network.sequential("chain", (1, 4), [Linear(k=width) for width in widths])


def hierarchy(levels: list[tuple[int, int]]) -> list[Memory]:
    """Levels with room for everything in the last, and falling bandwidths."""
    speeds = sorted((speed for _, speed in levels), reverse=True)
    found = [Memory(f"level {i}", room, speed) for i, ((room, _), speed) in enumerate(zip(levels, speeds, strict=True))]
    return [*found, Memory("last", 10**6, speeds[-1])]


# -- placement ----------------------------------------------------------------------------------------------


@given(SIZES, LEVELS)
def test_placement_is_the_best_in_order(widths: list[int], levels: list[tuple[int, int]]) -> None:
    """Of all placements in which no layer lies nearer than the one before it, none that fits reads faster."""
    net, memory = chain(widths), hierarchy(levels)
    found = place(net, memory, "fp16", reserve=0)
    sizes = [2 * node.parameters for node in net.layers]
    times = []
    for choice in combinations_with_replacement(range(len(memory)), len(sizes)):
        held = [sum(size for size, level in zip(sizes, choice, strict=True) if level == i) for i in range(len(memory))]
        if all(amount <= level.capacity for amount, level in zip(held, memory, strict=True)):
            times.append(sum(amount / level.bandwidth for amount, level in zip(held, memory, strict=True)))
    assert found.time == pytest.approx(min(times))
    assert sum(found.bytes.values()) == sum(sizes) and sum(found.fractions.values()) == pytest.approx(1)
    for level in memory:
        assert found.bytes[level.name] <= level.capacity
    assert found.slowdown == pytest.approx(min(times) / (sum(sizes) / memory[0].bandwidth))


@given(SIZES, LEVELS, st.integers(0, 2), st.integers(1, 1000))
def test_more_memory_and_faster_memory_never_cost_time(
    widths: list[int], levels: list[tuple[int, int]], which: int, more: int
) -> None:
    net, memory = chain(widths), hierarchy(levels)
    which %= len(memory)
    before, old = place(net, memory, reserve=0).time, memory[which]
    roomy = [*memory[:which], Memory(old.name, old.capacity + more, old.bandwidth), *memory[which + 1 :]]
    assert place(net, roomy, reserve=0).time <= before * (1 + 1e-12)
    fast = [*(Memory(m.name, m.capacity, m.bandwidth + more) for m in memory[: which + 1]), *memory[which + 1 :]]
    assert place(net, fast, reserve=0).time <= before * (1 + 1e-12)


def test_levels_of_a_device() -> None:
    net = zoo.llama(1, 1)
    card = device("rtx-3060").with_disk("2 TB", "3.5 GB/s")
    found = place(net, card, "fp16", ram=Memory("ram", "3 GB", "50 GB/s"))
    assert [level.name for level in found.levels] == ["vram", "ram", "disk"]
    held = footprint(net, "fp16")
    assert found.bytes["vram"] <= card.capacity - (held.total - held["parameters"])
    assert all(found.bytes.values()) and found.slowdown > 5
    assert "in disk" in found.sentence() and "read in" in str(found.table())
    whole = place(net, device("h100-sxm"))
    assert whole.fractions == {"vram": 1.0} and whole.slowdown == 1


def test_only_what_is_read_takes_time() -> None:
    """Of an embedding a token needs one row; a head that shares the table reads all of it, wherever it lies."""
    assert weights_read(Embedding(n=2, t=3, v=1000, c=8)) == 2 * 3 * 8
    assert weights_read(Linear(n=1, c=4, k=5, bias=True)) == 25
    net = zoo.gpt2_small(1, 1)
    found = {placed.layer: placed for placed in place(net, CARD, "fp32").layers}
    assert found["wte"].bytes == 50257 * 768 * 4 and found["wte"].read == 768 * 4
    assert found["lm_head"].bytes == 0 and found["lm_head"].read == 50257 * 768 * 4
    # too large for the first level, the table goes further out, and its head reads it there
    tight = [Memory("vram", "100 MB", "360 GB/s"), *CARD[1:]]
    assert {placed.level for placed in place(net, tight, "fp32").layers} == {"ram"}


# -- spilling -----------------------------------------------------------------------------------------------

RATES = st.integers(1, 10**6)
LAYERS = st.lists(st.tuples(st.integers(0, 10**6), st.fractions(0, 100)), min_size=1, max_size=6)
FRACTIONS = st.fractions(0, 1)


def spilled(layers: list[tuple[int, object]], fast: int, slow: int, link: int) -> Spill:
    weights, work = zip(*layers, strict=True)
    return Spill("chain", weights, work, fast, slow, link)


@given(LAYERS, RATES, RATES, RATES, FRACTIONS, st.sampled_from([*WAYS]))
def test_formula_is_number(layers: object, fast: int, slow: int, link: int, fraction: object, way: str) -> None:
    f = sympy.Symbol("f", nonnegative=True)
    found = spilled(layers, fast, slow, link)
    rational = [[sympy.Rational(value) for value in row] for row in (found.weights, found.work)]
    exact = Spill("chain", *map(tuple, rational), sympy.Integer(fast), sympy.Integer(slow), sympy.Integer(link))
    assert exact.time(f, way).subs(f, sympy.Rational(fraction)) == pytest.approx(found.time(fraction, way))


def test_formula_of_a_layer() -> None:
    f, w, c, fast, slow, link = sympy.symbols("f W C fast slow link", positive=True)
    assert sympy.simplify(spill().time(f, "stored") - w * ((1 - f) / fast + f / slow)) == 0
    assert spill().time(f, "streamed") == Max(c, f * w / link)
    assert sympy.simplify(spill().time(f, "serial") - (c + f * w / link)) == 0
    assert sympy.solve(spill().time(f, "stored") - 2 * w / fast, f)[0].equals(slow / (fast - slow))


@given(LAYERS, RATES, RATES, RATES, FRACTIONS, FRACTIONS)
def test_less_spilled_never_costs_time(layers: object, a: int, b: int, link: int, f: object, g: object) -> None:
    found = spilled(layers, max(a, b), min(a, b), link)
    for way in WAYS:
        assert found.time(min(f, g), way) <= found.time(max(f, g), way) + 1e-9
    faster = spilled(layers, max(a, b), min(a, b), link + 1)
    assert all(faster.time(f, way) <= found.time(f, way) + 1e-9 for way in WAYS)
    assert found.time(f, "streamed") <= found.time(f, "serial")


@given(LAYERS, RATES, RATES, FRACTIONS, st.integers(1, 40))
def test_streaming_in_tiles(layers: object, fast: int, link: int, fraction: object, tiles: int) -> None:
    """Play a layer's arrival tile by tile, each tile worked on once it is there: never less than the longer of the
    two, and above it by a tile at most."""
    found = spilled(layers, fast, fast, link)
    played = 0
    for weight, work in layers:
        there = done = 0
        for _tile in range(tiles):
            there += weight * fraction / link / tiles
            done = max(done, there) + work / tiles
        played += done
    slack = sum(min(work, weight * fraction / link) for weight, work in layers) / tiles
    assert float(found.time(fraction, "streamed")) <= float(played) * (1 + 1e-9)
    assert float(played) <= float(found.time(fraction, "streamed") + slack) * (1 + 1e-9) + 1e-12
    if tiles == 1:
        assert float(played) == pytest.approx(float(found.time(fraction, "serial")))


@given(LAYERS, RATES, RATES, RATES, st.fractions(1, 20), st.sampled_from([*WAYS]))
def test_crossing(layers: object, a: int, b: int, link: int, times: object, way: str) -> None:
    found = spilled(layers, max(a, b), min(a, b), link)
    start = found.time(0, way)
    assume(start > 0)
    at = found.crossing(float(times), way)
    goal = float(times) * float(start)
    if at is None:
        assert float(found.time(1, way)) > goal * (1 - 1e-9) or float(found.time(1, way)) < goal
        assert float(found.time(1, way)) < goal
    else:
        assert 0 <= at <= 1 and float(found.time(at, way)) == pytest.approx(goal, rel=1e-6)
        if at < 0.999:
            assert float(found.time(min(1, at + 1e-3), way)) > goal * (1 - 1e-12)


def test_a_network_on_a_card() -> None:
    card = device("rtx-3060")
    found = spill(LLAMA, card, slow="60 GB/s")
    assert found.time(0) == pytest.approx(on(LLAMA, card).total)
    assert sum(found.weights) == 2 * sum(weights_read(node.layer) for node in LLAMA.layers)
    assert found.crossing(2, "stored") == pytest.approx(1 / (card.bandwidth / 60e9 - 1))
    assert found.slowdown(found.crossing(2, "stored"), "stored") == pytest.approx(2)
    assert found.slow == 60e9 and spill(LLAMA, card).slow == found.link == card.link
    assert len(found.table().records()) == 11 and "twice as long" in found._repr_html_()
    # a large batch works long enough to hide all arrivals
    assert spill(zoo.llama(64, 512, **SMALL), device("t4")).crossing(1) > 0.5


# -- technologies -------------------------------------------------------------------------------------------


@given(st.floats(1, 1e6), st.floats(1, 1e6), st.floats(0.1, 100))
def test_what_a_budget_buys(budget: float, more: float, dollars: float) -> None:
    small, large = (afford(b, ["gddr6"], {"gddr6": dollars})["gddr6"] for b in (budget, budget + more))
    assert small.capacity * dollars == pytest.approx(budget * 1e9)
    assert small.largest * 2 <= small.capacity < (small.largest + 1) * 2
    assert large.capacity > small.capacity and large.tokens < small.tokens
    assert afford(budget, ["gddr6"], {"gddr6": dollars / 2})["gddr6"].capacity > small.capacity


def test_prices_have_sources_or_are_given() -> None:
    for technology in memories():
        found = price(technology.id)
        published = {fact.name for fact in technology.facts} & {"price_per_gb", "relative_price"}
        assert (found is not None) == bool(published)
        if found is not None:
            assert found.source and found.date and found.confidence == "low-trust"
    assert price("ddr5", {"ddr5": 3}).dollars == 3 and price("ddr5", {"ddr5": 3}).source == "given"
    assert price("hbm2e", {"ddr5": 3}).dollars == 12  # the published ratio, times the price that was given
    assert price("hbm3e").dollars == 9  # its own price comes before the ratio


def test_vram_is_faster_and_dearer() -> None:
    rows = {row["technology"]: row for row in compare().records()}
    for name in ("HBM3e", "HBM3", "HBM2e"):
        assert rows[name]["faster"] > 4 and rows[name]["dearer"] >= 4
    assert rows["DDR5"]["faster"] == rows["DDR5"]["dearer"] == 1
    assert rows["GDDR6"]["price"] is None and rows["GDDR6"]["dearer"] is None
    assert len(rows) == len(memories()) - 1 and "SRAM" not in rows


def test_a_network_for_a_budget() -> None:
    found = afford(200, net=zoo.llama(1, 1))
    ddr, hbm = found["ddr5"], found["hbm3e"]
    assert ddr.fits and hbm.fits is (hbm.capacity >= 2 * zoo.llama(1, 1).parameters)
    assert ddr.tokens == pytest.approx(ddr.bandwidth / (2 * sum(weights_read(n.layer) for n in zoo.llama(1, 1).layers)))
    assert afford(10, ["hbm3e"], net=zoo.llama(1, 1))["hbm3e"].tokens is None
    assert afford(10, ["lpddr5x"])["lpddr5x"].tokens is None  # no device of the catalogue uses it
    assert "times the price" in found.sentence() and "Llama" in found.table().title
    assert afford("1 k$", ["ddr5"]).dollars == 1000


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: place(LLAMA, []), DnnlabError, "expected a device or memories"),
        (lambda: place(LLAMA, "t4"), DnnlabError, "expected a device or memories"),
        (lambda: place(LLAMA, [1]), DnnlabError, "1 is no memory"),
        (lambda: place(LLAMA, [Memory("ram", None, 1)]), ExtentError, "ram has no known capacity"),
        (lambda: place(LLAMA, [Memory("ram", 1e9)]).time, ExtentError, "ram has no known bandwidth"),
        (lambda: place(LLAMA, CARD[::-1]), ExtentError, "ram is farther than disk and faster"),
        (lambda: place(LLAMA, [Memory("vram", 100_000, 1)]), ExtentError, "find no room in vram"),
        (lambda: place(LLAMA, CARD, reserve=-1), ExtentError, "must not be negative"),
        (lambda: place(LLAMA, CARD, reserve=float("nan")), DnnlabError, "must be finite"),
        (lambda: place(Linear(), CARD), ExtentError, "depends on its symbols"),
        (lambda: place("net", CARD), DnnlabError, "expected a network"),
        (lambda: place(LLAMA, device("t4"), ram="64 GB"), DnnlabError, r"such as Memory\('ram'"),
        (lambda: place(LLAMA, Device("own", {"fp16": 1})), ExtentError, "no known capacity"),
        (lambda: spill(LLAMA, device("t4")).time(1.5), ExtentError, "from 0 to 1"),
        (lambda: spill(LLAMA, device("t4")).time(float("nan")), ExtentError, "from 0 to 1"),
        (lambda: spill(LLAMA, device("t4")).time(True), ExtentError, "from 0 to 1"),
        (lambda: spill(LLAMA, device("t4")).time(0.5, "stream"), UnknownNameError, "did you mean 'streamed'"),
        (lambda: spill(LLAMA, device("t4")).crossing(0.5), ExtentError, "never takes less"),
        (lambda: spill(LLAMA, device("t4")).crossing(float("inf")), DnnlabError, "finite"),
        (lambda: spill(LLAMA, device("t4")).table(0.5), ExtentError, "expected numbers from 0 to 1"),
        (lambda: afford(100, 3), DnnlabError, "expected ids"),
        (lambda: spill().crossing(2), ExtentError, "bind 'W' first"),
        (lambda: spill().table(), ExtentError, "bind 'W' first"),
        (lambda: spill(LLAMA), DnnlabError, "expected a device"),
        (lambda: spill(LLAMA, device("t4"), link=0), ExtentError, "link must be positive"),
        (lambda: spill(LLAMA, device("t4"), slow="-1 GB/s"), ExtentError, "slow must be positive"),
        (lambda: spill(LLAMA, device("stm32h743")), DnnlabError, "unknown dtype of"),
        (lambda: afford(0), ExtentError, "budget must be positive"),
        (lambda: afford("lots"), DnnlabError, "budget"),
        (lambda: afford(100, ["gddr6"]), ExtentError, "nobody published a price of GDDR6: give one"),
        (lambda: afford(100, ["gddr8"]), UnknownNameError, "did you mean 'gddr6'"),
        (lambda: afford(100, []), ExtentError, "name some"),
        (lambda: afford(100, prices={"gddr8": 1}), UnknownNameError, "memory technology"),
        (lambda: afford(100, prices={"gddr6": -1}), ExtentError, "price of gddr6 must be positive"),
        (lambda: afford(100, prices=[1]), DnnlabError, "dollars a GB by technology"),
        (lambda: afford(1e300, ["ddr5"], {"ddr5": 1e-300}), DnnlabError, "capacity of DDR5"),
        (lambda: afford(100, net="llama"), DnnlabError, "expected a network"),
        (lambda: afford(100, ["ddr5"])["hbm3"], UnknownNameError, "with a price"),
    ],
)
def test_bad_input(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
