"""The catalogue against the reference figures (tests/data/devices.json), and devices of one's own."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import sys
import time
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnnlab import hardware
from dnnlab.errors import DnnlabError, ExtentError, ReadError, UnknownNameError
from dnnlab.hardware import CONFIDENCE, Device, Fact, Memory, device, devices, energy, memories
from dnnlab.quantities import DTYPES

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "devices.json").read_text("utf-8"))
IDS = {
    "NVIDIA A100 80GB SXM4": "a100-sxm",
    "NVIDIA H100 80GB SXM5": "h100-sxm",
    "NVIDIA H200 141GB SXM": "h200-sxm",
    "NVIDIA B200 180GB (HGX)": "b200",
    "NVIDIA GeForce RTX 4090": "rtx-4090",
    "NVIDIA GeForce RTX 3060 12GB": "rtx-3060",
    "NVIDIA T4": "t4",
    "NVIDIA L4": "l4",
    "NVIDIA V100 32GB SXM2": "v100-sxm",
    "NVIDIA Jetson Orin Nano 8GB": "jetson-orin-nano",
    "Apple M2 (10-core GPU)": "apple-m2",
    "Google TPU v4 (chip)": "tpu-v4",
    "Google TPU v5e (chip)": "tpu-v5e",
    "Desktop CPU, Ryzen 9 7950X, 2ch DDR5-5600": "ryzen-7950x",
    "AMD EPYC 9654 server, 12ch DDR5-4800": "epyc-9654",
    "Raspberry Pi 4 (BCM2711)": "raspberry-pi-4",
    "Raspberry Pi 5 (BCM2712)": "raspberry-pi-5",
    "STM32H743 (Cortex-M7 480 MHz)": "stm32h743",
    "Eyeriss (65 nm, 2016)": "eyeriss",
}
DTYPE_OF = {
    "fp16_tc_fp16acc": "fp16-acc16",
    "fp16_tc_fp32acc": "fp16",
    "fp64_tc": "fp64-tc",
    "ane_int8": "int8-ane",
    "int16_dual_mac": "int16",
    "int16_mac_as_2ops": "int16",
}
# Which figures a key of the reference's status is about.
STATUS_OF = {
    "peak": ["peak."], "fp32": ["peak.fp32"], "fp16": ["peak.fp16"], "int8": ["peak.int8"],
    "ane": ["peak.int8-ane"], "fp16_tc_fp16acc": ["peak.fp16-acc16"], "fp16_tc_fp32acc": ["peak.fp16"],
    "bw": ["bandwidth"], "mem": ["capacity"], "sram": ["capacity"], "host": ["link"], "tdp": ["tdp"],
    "L2": ["on_chip"], "L3": ["on_chip"], "SLC": ["on_chip"], "VMEM": ["on_chip"], "buffer": ["on_chip"],
    "onchip": ["on_chip", "parts."], "L1": ["parts.l1"], "price": ["price"], "PEs": ["lanes"],
    "power": ["tdp", "power."], "dram/mac": ["dram_per_mac."], "fps": ["frames_per_second."],
}  # fmt: skip
UNIT = {"KB": 2**10, "MB": 2**20, "MiB": 2**20}
ADVERTISED = {"GB": 10**9, "TB": 10**12, "GiB": 2**30, "MB": 2**20}

entries = pytest.mark.parametrize("entry", REFERENCE["devices"], ids=lambda entry: IDS[entry["name"]])
machines = pytest.mark.parametrize("machine", devices(), ids=lambda machine: machine.id)
positive = st.floats(1e-3, 1e18) | st.integers(1, 10**18)


def of(entry: dict[str, Any]) -> Device:
    return device(IDS[entry["name"]])


def test_the_catalogue_has_the_reference_devices_and_no_others() -> None:
    assert (
        {d.name: d.id for d in devices()} == IDS == {e["name"]: IDS[e["name"]] for e in REFERENCE["devices"]}
    )


@entries
def test_peaks_and_bandwidth_are_the_reference(entry: dict[str, Any]) -> None:
    machine = of(entry)
    assert dict(machine.peak) == {DTYPE_OF.get(key, key): rate for key, rate in entry["peak"].items()}
    assert machine.bandwidth == entry["bw"]
    assert (
        machine.fact("tdp").value == entry["tdp"]
        if entry["tdp"]
        else "tdp" not in {f.name for f in machine.facts}
    )


@entries
def test_capacity_is_a_printed_size_in_its_printed_unit(entry: dict[str, Any]) -> None:
    machine = of(entry)
    sizes = [float(n) * ADVERTISED[unit] for n, unit in re.findall(r"(\d+) (GB|TB|GiB|MB)", entry["mem"])]
    assert machine.capacity == (sizes[0] if sizes else None)
    assert machine.technology.lower() in entry["mem"].lower()
    for smallest in re.findall(r"(\d+)-\d+ GB", entry["mem"]):
        assert machine.fact("capacity_smallest").value == int(smallest) * 10**9


@entries
def test_every_printed_on_chip_size_is_kept_in_binary(entry: dict[str, Any]) -> None:
    machine = of(entry)
    known = {fact.value for fact in machine.facts if fact.name == "on_chip" or fact.name.startswith("parts.")}
    for text in entry["onchip"].values():
        sizes = re.sub(r" \(.*?\)", "", text).replace("128 + 32 MiB", "128 MiB and 32 MiB")
        for before, number, unit, after in re.findall(
            r"(?:(\d+) x )?([\d.]+) (KB|MB|MiB)(?: x (\d+))?", sizes
        ):
            assert float(number) * UNIT[unit] * int(before or after or 1) in known, text
    assert machine.on_chip is None or machine.on_chip in known


def test_the_a100_cache_is_what_the_device_reports() -> None:
    assert device("a100-sxm").on_chip == 41943040


@entries
def test_links_are_the_reference(entry: dict[str, Any]) -> None:
    machine = of(entry)
    values = {fact.name: fact.value for fact in machine.facts}
    host = re.search(r"([\d.]+) GB/s", entry["host"])
    assert (machine.link or values.get("card_link")) == (float(host[1]) * 1e9 if host else None)
    for name in ("nvlink", "ici"):
        printed = re.match(r"(\d+) GB/s", entry.get(name, ""))
        assert values.get(name) == (float(printed[1]) * 1e9 if printed else None)


@entries
def test_prices_are_printed_ones_with_source_and_date_or_left_out(entry: dict[str, Any]) -> None:
    facts = [fact for fact in of(entry).facts if fact.name.startswith("price")]
    text = (entry["price"] or "").replace(",", "")
    printed = [float(number) * (1000 if k else 1) for number, k in re.findall(r"([\d.]+)(k?)", text)]
    assert bool(facts) == bool(printed and entry["status"].get("price") != "not verified (recalled)")
    for fact in facts:
        assert fact.value in printed
        assert fact.source and re.fullmatch(r"\d{4}-\d\d(-\d\d)?", fact.date)


@entries
def test_confidence_is_the_references(entry: dict[str, Any]) -> None:
    machine = of(entry)
    for key, status in entry["status"].items():
        if key in ("tdp", "clock") and key not in {fact.name for fact in machine.facts}:
            continue  # Apple publishes no power; a clock is not a figure of a Device
        names = tuple(STATUS_OF[key])
        facts = [
            f for f in machine.facts if f.name in names or (f.name.startswith(names) and names[0][-1] == ".")
        ]
        word = status.split()[0].rstrip(";")
        if key == "price" and not facts:
            assert word == "not"
            continue
        assert facts, key
        for fact in facts:
            if word == "not":  # "not verified (recalled)": recalled still, or a source was found since
                assert fact.confidence == ("recalled" if "recalled" in fact.source[0] else "secondary")
            else:
                assert fact.confidence == word, (key, fact)


@entries
def test_sources_pitfalls_and_notes_are_kept(entry: dict[str, Any]) -> None:
    machine = of(entry)
    cited = {source for fact in machine.facts for source in fact.source}
    assert set(entry["sources"]) <= cited
    kept = " ".join([*machine.notes, *(fact.note for fact in machine.facts)])
    for text in (entry.get("pitfall", ""), entry.get("note", "")):
        assert set(re.findall(r"\d[\d.e]*\d", text)) <= set(re.findall(r"\d[\d.e]*\d", kept))
    assert machine.notes or not (entry.get("pitfall") or entry.get("note"))


@machines
def test_every_figure_says_how_sure_it_is_and_why(machine: Device) -> None:
    names = [fact.name for fact in machine.facts]
    assert len(set(names)) == len(names)
    for fact in machine.facts:
        assert fact.confidence in CONFIDENCE and all(fact.source) and fact.source and fact.value > 0
        assert (fact.confidence == "recalled") == any("recalled" in source for source in fact.source)
        assert fact.note or fact.confidence != "derived"
        assert machine.fact(fact.name) is fact
    for name in ("bandwidth", "capacity", "on_chip", "lanes", "link"):
        assert getattr(machine, name) == next((f.value for f in machine.facts if f.name == name), None)


@machines
def test_lanes_and_peak_imply_a_clock_that_exists(machine: Device) -> None:
    if machine.lanes is None:
        assert machine.id in ("l4", "apple-m2")
        return
    # TPUs and Eyeriss have no fp32 units: their lanes are of the only dtype their notes name.
    dtype = next(d for d in ("fp32", "bf16", "int16") if d in machine.peak)
    assert 0.1e9 < machine.rate(dtype) / (2 * machine.lanes) < 6e9
    for cores, each in re.findall(r"(\d+) SM x (\d+)", machine.fact("lanes").note):
        assert machine.lanes == int(cores) * int(each)


def test_clocks_that_the_reference_states() -> None:
    clocks = {"rtx-3060": 1.777e9, "jetson-orin-nano": 625e6, "ryzen-7950x": 4.5e9, "epyc-9654": 2.4e9}
    clocks |= {"raspberry-pi-4": 1.8e9, "raspberry-pi-5": 2.4e9, "stm32h743": 480e6}
    for name, clock in clocks.items():
        assert device(name).rate("fp32") / (2 * device(name).require("lanes")) == pytest.approx(
            clock, rel=0.003
        )
    assert device("eyeriss").rate("int16") / (2 * 168) == 200e6


def test_energies_are_the_reference() -> None:
    printed = REFERENCE["energy_45nm_pJ"]
    names = {
        "sram_8KB_32b": "sram_8kib_32b",
        "sram_32KB_32b": "sram_32kib_32b",
        "sram_1MB_32b": "sram_1mib_32b",
    }
    names |= {"HBM2_pJ_per_byte": "hbm2_byte"}
    for name, value in printed.items():
        if not name.endswith("source"):
            fact = energy()[names.get(name, name)]
            assert fact.value == pytest.approx(value * 1e-12, rel=1e-12) and fact.unit == "J"
            assert fact.source[0] == printed["HBM2_source" if "HBM2" in name else "source"]
    assert all(fact.confidence in CONFIDENCE and fact.source for fact in energy().values())


def test_memory_technologies() -> None:
    found = {memory.id: memory for memory in memories()}
    for name, ratio in re.findall(
        r"(DDR5|LPDDR5X|HBM2e|HBM3e?) ([\d.]+)x", REFERENCE["memory_price"]["note"]
    ):
        (fact,) = [f for f in found[name.lower()].facts if f.name == "relative_price"]
        assert (fact.value, fact.confidence) == (float(ratio), "low-trust") and fact.date and fact.source
    for memory in memories():
        assert memory.facts or memory.devices
        for fact in memory.facts:
            assert fact.confidence in CONFIDENCE and fact.source
            assert fact.date or "price" not in fact.name
        for name in memory.devices:
            assert device(name).technology == memory.name
            assert memory.bandwidths[name] == device(name).bandwidth
    used = {name for memory in memories() for name in memory.devices}
    assert used == {d.id for d in devices()} - {"eyeriss"}, "Eyeriss: DRAM of no named kind"
    assert found["nvme-gen4"].bandwidths == {"nvme-gen4": 7e9}


def test_a_device_of_ones_own() -> None:
    card = Device(
        "my card", peak={"fp32": 10e12}, bandwidth="400 GB/s", capacity="8 GB", on_chip="4 MiB", lanes=1024
    )
    assert (card.rate("fp32"), card.bandwidth, card.capacity, card.on_chip) == (
        10**13,
        4 * 10**11,
        8 * 10**9,
        2**22,
    )
    assert card.balance("fp32") == 25 and card.link is None and card.disk is None
    assert card.memories == (Memory("on-chip", 2**22), Memory("vram", 8 * 10**9, 4 * 10**11))
    assert [row["figure"] for row in card.table().records()] == [
        "peak.fp32", "bandwidth", "capacity", "on_chip", "lanes",
    ]  # fmt: skip
    changed = replace(device("t4"), bandwidth="1 TB/s").table().records()
    confidence = {row["figure"]: row["confidence"] for row in changed}
    assert (confidence["bandwidth"], confidence["on_chip"]) == ("your own", "verified")


@given(
    st.text("ab<&'\"", min_size=1).filter(str.strip),
    # Whole numbers: a float and its shortest decimal text are not the same number.
    st.dictionaries(st.sampled_from([*DTYPES, "fp16-acc16", "int8-ane"]), st.integers(1, 10**18), min_size=1),
    st.none() | st.integers(1, 10**18),
    *[st.none() | positive] * 3,
    st.none() | st.integers(1, 10**6),
    st.none() | st.builds(Memory, st.just("disk"), positive, positive),
    st.randoms(use_true_random=False),
)
def test_equal_devices_are_equal_however_written(
    name: str,
    peak: dict[str, float],
    bandwidth: float | None,
    capacity: float | None,
    on_chip: float | None,
    link: float | None,
    lanes: int | None,
    disk: Memory | None,
    shuffler: Any,
) -> None:
    first = Device(name, peak, bandwidth, capacity, on_chip, lanes, link, disk)
    shuffled = list(peak.items())
    shuffler.shuffle(shuffled)
    second = Device(
        name,
        {dtype: f"{rate!r} OP/s" for dtype, rate in shuffled},
        bandwidth if bandwidth is None else f"{bandwidth!r} B/s",
        capacity, on_chip, lanes, link, disk, facts=(Fact("tdp", 5, "W", "verified", ("me",)),),
    )  # fmt: skip
    assert first == second and hash(first) == hash(second) and repr(first) == repr(second)
    assert eval(repr(first), {"Device": Device, "Memory": Memory}) == first
    assert pickle.loads(pickle.dumps(first)) == copy.deepcopy(first) == first
    assert {dtype: first.rate(dtype) for dtype in first.peak} == peak
    assert first != replace(first, bandwidth=(bandwidth or 1) * 3)
    html = first._repr_html_()
    assert "<&" not in html and html.count("<caption>") == 1


@given(
    st.text(max_size=8) | st.floats(max_value=0) | st.sampled_from([float("nan"), float("inf"), True, [], {}])
)
def test_a_figure_is_positive_and_finite_or_an_error(value: Any) -> None:
    for figure in ("bandwidth", "capacity", "on_chip", "lanes", "link", "peak"):
        setting = {"peak": {"fp32": 1}} | {figure: {"fp32": value} if figure == "peak" else value}
        try:
            got = Device("mine", **setting)
        except (ReadError, ExtentError) as error:
            assert f"{figure.removeprefix('peak') or 'fp32 rate'} of mine" in str(error)
        else:
            number = got.rate("fp32") if figure == "peak" else getattr(got, figure)
            assert 0 < number < float("inf") and isinstance(value, str)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"peak": {}}, "mine needs peak rates such as {'fp32': '10 TFLOP/s'}, not {}"),
        ({"peak": None}, "mine needs peak rates"),
        ({"peak": {"fp31": 1}}, "unknown dtype 'fp31'; did you mean 'fp32'"),
        ({"peak": {3: 1}}, "unknown dtype 3"),
        ({"lanes": 2.5}, "lanes of mine must be a whole number, not 2.5"),
        ({"disk": "2 TB"}, "disk of mine must be a Memory, not '2 TB': use with_disk"),
        ({"bandwidth": "400 Gb/s"}, "bandwidth of mine: .*a bit is an eighth of a byte"),
        ({"bandwidth": "400 GB"}, "bandwidth of mine: .*'GB' is not one of B/s"),
        ({"name": " "}, "a device needs a name"),
        ({"name": None}, "a device needs a name, not None"),
    ],
)
def test_errors_name_the_figure_and_the_way_out(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(DnnlabError, match=says):
        Device(**({"name": "mine", "peak": {"fp32": 1}} | settings))


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown device 'h100'; did you mean 'h100-sxm'\? Known: a100-sxm, h"
    ):
        device("h100")
    with pytest.raises(UnknownNameError, match=r"unknown dtype of NVIDIA T4 'fp8'.*Known: fp32, fp16, int8$"):
        device("t4").rate("fp8")
    with pytest.raises(UnknownNameError, match="unknown fact about NVIDIA T4 'colour'"):
        device("t4").fact("colour")
    for name in (None, 3, [], "", "x" * 10**6):
        with pytest.raises(UnknownNameError, match="unknown device"):
            device(name)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(UnknownNameError, match="unknown dtype of"):
            device("t4").rate(name)  # type: ignore[arg-type]  # on purpose


def test_a_missing_figure_is_an_error_only_when_it_is_needed() -> None:
    eyeriss = device("eyeriss")
    assert eyeriss.bandwidth is None and eyeriss.capacity is None
    with pytest.raises(ExtentError, match=r"has no known bandwidth; give it one: .*bandwidth='400 GB/s'"):
        eyeriss.balance("int16")
    assert replace(eyeriss, bandwidth="600 MB/s").balance("int16") == 112
    with pytest.raises(UnknownNameError, match="unknown figure 'colour'"):
        eyeriss.require("colour")


@given(st.sampled_from(devices()), *[st.sampled_from([0.5, 1, 2, 10])] * 3)
def test_scaling_multiplies_what_is_named_and_nothing_else(
    machine: Device, compute: float, bandwidth: float, lanes: float
) -> None:
    if machine.bandwidth is None:
        bandwidth = 1
    if machine.lanes is None or machine.lanes * lanes < 1:
        lanes = 1
    scaled = machine.scaled(compute, bandwidth=bandwidth, lanes=lanes)
    assert {d: scaled.rate(d) for d in scaled.peak} == {d: machine.rate(d) * compute for d in machine.peak}
    assert scaled.bandwidth == (machine.bandwidth and machine.bandwidth * bandwidth)
    assert scaled.lanes == (machine.lanes and machine.lanes * lanes)
    assert (scaled.capacity, scaled.on_chip, scaled.link) == (machine.capacity, machine.on_chip, machine.link)
    unchanged = compute == bandwidth == lanes == 1
    assert (scaled is machine) == unchanged and bool(scaled.facts) == unchanged
    assert scaled.name.startswith(machine.name) and ("×" in scaled.name) == (not unchanged)


def test_scaling_refuses_nonsense() -> None:
    t4 = device("t4")
    for factor in (0, -1, float("nan"), float("inf"), "x", None):
        with pytest.raises(DnnlabError, match="factor for"):
            t4.scaled(bandwidth=factor)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(DnnlabError, match="factor for compute"):
            t4.scaled(factor)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(UnknownNameError, match="unknown figure 'banwidth'; did you mean 'bandwidth'"):
        t4.scaled(banwidth=1)
    with pytest.raises(ExtentError, match="no known bandwidth"):
        device("eyeriss").scaled(bandwidth=2)


def test_the_hierarchy_goes_outwards() -> None:
    with_disk = device("h100-sxm").with_disk("2 TB", "7 GB/s")
    assert [memory.name for memory in with_disk.memories] == ["on-chip", "vram", "host", "disk"]
    speeds = [memory.bandwidth for memory in with_disk.memories[1:]]
    assert speeds == [3.35e12, 64e9, 7e9] and with_disk != device("h100-sxm")
    assert [memory.name for memory in device("ryzen-7950x").memories] == ["on-chip", "ram"]


def test_nothing_can_be_changed() -> None:
    t4 = device("t4")
    for name in ("bandwidth", "name", "peak", "facts"):
        with pytest.raises(FrozenInstanceError):
            setattr(t4, name, 1)
    with pytest.raises(TypeError):
        t4.peak["fp16"] = 1  # type: ignore[index]  # on purpose
    with pytest.raises(TypeError):
        energy()["fp32_mul"] = 1  # type: ignore[index]  # on purpose
    assert device("t4") is t4


@machines
def test_the_table_of_a_device_shows_each_figure_with_its_source(machine: Device) -> None:
    records = machine.table().records()
    assert [row["figure"] for row in records] == [fact.name for fact in machine.facts]
    assert all(row["confidence"] in CONFIDENCE and row["source"] for row in records)
    assert all(len(str(row["value"])) < 20 for row in records)


def test_the_catalogue_is_read_once_quickly_and_not_on_import() -> None:
    code = (
        "import sys, dnnlab.hardware as h; assert not h._catalogue.cache_info().currsize; "
        "assert not {'numpy', 'matplotlib', 'IPython'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    times = []
    for _ in range(5):
        hardware._catalogue.cache_clear()
        hardware._memory_data.cache_clear()
        start = time.process_time()
        devices(), memories()
        times.append(time.process_time() - start)
    # 15 ms where it was written; the limit leaves room for a slow machine and catches a slow reader.
    assert min(times) < 0.1
