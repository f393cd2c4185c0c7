"""What a layer should take: effects against sums by hand, on invented devices with invented counts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnnlab import Conv2d, Device, Linear, ReLU, device
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.hardware import Fact
from dnnlab.measuring.expected import FUNCTIONS, REASONS, expectation, expected
from dnnlab.measuring.work import Work

CONV = Conv2d(n=2, k=32, c=16, h=20, w=20, r=3, s=3)
RELU = ReLU(m=10**7)


def machine(on_chip: Any = "1 MiB", **figures: Any) -> Device:
    """A machine of 100 GFLOP/s and 20 GB/s, with further facts; '__' stands for a dot."""
    facts = tuple(
        Fact(name.replace("__", "."), value, "", "estimate", ("invented",)) for name, value in figures.items()
    )
    return Device("invented", {"fp32": "100 GFLOP/s"}, bandwidth="20 GB/s", on_chip=on_chip, facts=facts)


rates = st.floats(1e6, 1e13)
counts = st.integers(0, 10**11)


@given(
    matrix=counts, convolved=counts, alone=counts, shared=counts, copied=counts,
    working=st.integers(0, 2**22), calls=st.integers(0, 50),
    tanh=counts, exp=counts, facts=st.fixed_dictionaries({
        name: rates for name in ("matrix__torch__fp32", "bandwidth", "bandwidth_one", "cache_bandwidth",
                                 "cache_bandwidth_one", "functions__torch__tanh", "functions__numpy__tanh",
                                 "matrix__numpy__fp32", "convolution__torch__fp32")
    }), overhead=st.floats(1e-8, 1e-3), library=st.sampled_from(("numpy", "torch")),
)  # fmt: skip
def test_the_sum_of_all_effects(
    matrix: int, convolved: int, alone: int, shared: int, copied: int, working: int, calls: int, tanh: int, exp: int,
    facts: dict[str, float], overhead: float, library: str,
) -> None:  # fmt: skip
    moved = alone + shared + copied
    slow = {"tanh": tanh, "exp": exp}
    work = Work(matrix + convolved, moved, copied, working, calls, slow, shared=shared, convolved=convolved)
    found = expectation(CONV, machine(**facts | {f"overhead__{library}": overhead}), library, "fp32", work)
    together = facts["cache_bandwidth" if working <= 2**20 else "bandwidth"]
    one = facts["cache_bandwidth_one" if working <= 2**20 else "bandwidth_one"] if library == "numpy" else together
    # a number is read, its place in the result is read and written: twelve bytes move while it is evaluated; nothing
    # is known about exp, which drops out
    longer = max(0, 1 / facts[f"functions__{library}__tanh"] - 12 / one) * tanh
    # NumPy has no convolutions of its own, so no rate of them
    kernel = facts["convolution__torch__fp32" if library == "torch" else "matrix__numpy__fp32"]
    total = (
        matrix / facts[f"matrix__{library}__fp32"] + convolved / kernel
        + (alone + copied) / one + shared / together + longer + calls * overhead
    )  # fmt: skip
    assert found.total == pytest.approx(total)
    assert all(seconds >= 0 for seconds in found.effects.values())
    # the steps lead from the best case to the expectation
    best = max(float(CONV.ops) / 100e9, float(CONV.traffic) * 4 / 20e9)
    assert sum(found.over.values()) == pytest.approx(found.total - best, abs=1e-9 * max(total, best))


def test_a_device_of_the_catalogue_has_arithmetic_and_memory_alone() -> None:
    card = device("t4")
    work = Work(int(CONV.macs) * 2, 3 * 10**6, 10**6, 10**6, 5, {"exp": 10**9})
    found = expectation(CONV, card, "torch", "fp32", work)
    assert found.total == pytest.approx(work.matrix / card.rate("fp32") + 3e6 / card.require("bandwidth"))
    assert found.effects["overhead"] == found.effects["functions"] == 0


def test_arrays_count_as_cached_up_to_the_size_of_the_cache() -> None:
    figures = {"cache_bandwidth": 200e9, "bandwidth": 20e9}
    for working, rate in ((2**20, 200e9), (2**20 + 1, 20e9)):
        found = expectation(RELU, machine(**figures), "torch", "fp32", Work(0, 80_000_000, 0, working))
        assert found.total == pytest.approx(80e6 / rate)
    unknown_cache = expectation(RELU, machine(None, **figures), "torch", "fp32", Work(0, 80_000_000, 0, 10))
    assert unknown_cache.total == pytest.approx(80e6 / 20e9)


MOVED = int(RELU.traffic) * 4
CONVOLVED = Work(int(CONV.macs) * 2, int(CONV.traffic) * 4, 0, 2**30)
EXAMPLES: dict[str, tuple[Any, Device, Work, str]] = {
    "turns": (CONV, machine(), CONVOLVED, "torch"),
    "rate": (CONV, machine(matrix__torch__fp32=20e9), CONVOLVED, "torch"),
    "passes": (RELU, machine(), Work(0, 3 * MOVED, 0, 2**30), "torch"),
    "fetched": (RELU, machine(), Work(0, MOVED * 3 // 2, 0, 2**30, fetched=MOVED // 2), "torch"),
    "thread": (RELU, machine(bandwidth_one=8e9), Work(0, MOVED, 0, 2**30), "numpy"),
    "copies": (CONV, machine(), replace(CONVOLVED, moved=30 * 10**6, copied=25 * 10**6), "torch"),
    "allocation": (RELU, machine(allocation__torch=2e9, bandwidth=20e9), Work(0, MOVED, fetched=MOVED // 2), "torch"),
    "overhead": (CONV, machine(overhead__torch=1e-3), CONVOLVED, "torch"),
    "cache": (RELU, machine("1 GiB", cache_bandwidth=100e9), Work(0, MOVED, 0, 2**26), "torch"),
}
# One thread reads a matrix, filters come from the cache again: those take the figures of the memory.
OWN = {"reread": {"cache_bandwidth": 1e9}, "lone": {"bandwidth_one": 1e9}}
for kind in FUNCTIONS:
    facts = OWN.get(kind, {f"functions__torch__{kind}": 1e8})
    EXAMPLES[kind] = (RELU, machine(**facts), Work(0, MOVED, 0, 2**30, 1, {kind: 10**8, "unheard of": 10**20}), "torch")


@pytest.mark.parametrize("reason", REASONS)
def test_what_explains_the_time_is_what_was_made_slow(reason: str) -> None:
    layer, card, work, library = EXAMPLES[reason]
    found = expectation(layer, card, library, "fp32", work, kept=reason != "allocation")
    assert found.reason == reason
    assert found.explanation().startswith(REASONS[reason] + ": ")
    assert found.explanation().endswith(" less time" if reason == "cache" else " of the time")
    assert found.explanation() in found.sentence()


def test_fresh_memory_takes_its_time_for_large_results_of_pytorch() -> None:
    facts = {"allocation__torch": 2e9, "allocation__numpy": 4e9, "bandwidth": 20e9}
    for library, result, seconds in (("torch", 10**7, 5e-3 - 1e-3), ("torch", 10**5, 0), ("numpy", 10**7, 0)):
        work = Work(0, 3 * result, 0, 2**30, fetched=result)
        kept, fresh = (expectation(RELU, machine(**facts), library, "fp32", work, kept) for kept in (True, False))
        assert kept.effects["allocation"] == 0
        assert fresh.total - kept.total == pytest.approx(seconds) == fresh.effects["allocation"]
        assert sum(fresh.over.values()) - sum(kept.over.values()) == pytest.approx(seconds)


def test_the_slowest_of_several_functions_is_named() -> None:
    card = machine(functions__torch__tanh=1e9, functions__torch__exp=1e9)
    work = Work(0, MOVED, 0, 2**30, 1, {"exp": 10**7, "tanh": 3 * 10**7})
    found = expectation(RELU, card, "torch", "fp32", work)
    assert found.explanation().startswith("hyperbolic tangents are slower than moving the numbers: ")
    assert found.effects["functions"] == pytest.approx(4e7 * (1 / 1e9 - 12 / 20e9))


def test_the_share_of_the_saving_is_of_what_it_would_take() -> None:
    layer, card, work, library = EXAMPLES["cache"]
    assert expectation(layer, card, library, "fp32", work).explanation().endswith(": 80% less time")  # 20 → 100 GB/s


def test_a_layer_at_its_roof_needs_no_explanation() -> None:
    found = expectation(RELU, machine(), "torch", "fp32", Work(0, MOVED, 0, 2**30))
    assert found.reason is None
    assert found.explanation() == "close to the best case"


def test_the_table_adds_up() -> None:
    layer, card, work, library = EXAMPLES["copies"]
    found = expectation(layer, card, library, "fp32", work)
    *rows, total = found.table().records()
    assert math.fsum(float(row["seconds"]) for row in rows) == pytest.approx(total["seconds"])  # type: ignore[arg-type]
    assert [row["effect"] for row in rows] == ["arithmetic", "memory", "copies"]
    assert "25 MB" in found.table().text() and "<table" in found._repr_html_()


def test_what_cannot_be_expected_says_why() -> None:
    with pytest.raises(UnknownNameError, match=r"library 'troch'.*torch"):
        expected(CONV, machine(), "troch")
    with pytest.raises(DnnlabError, match="expected a layer such as ReLU"):
        expected("conv", machine())  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="dtype"):
        expectation(CONV, machine(), "torch", "fp64", Work())
    with pytest.raises(ExtentError, match="bind"):
        expectation(Linear(n=2, c=3), machine(), "torch", "fp32", Work())
