"""The command line as a user meets it: in this process, and as a process of its own."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab import __version__, device, devices, on, zoo
from dnnlab.cli import main
from dnnlab.costs import read_program
from dnnlab.interpreter import interpret
from dnnlab.loopnest import LoopNest
from dnnlab.notes import layer_cells

ROOT = Path(__file__).parents[1]
LINE = "out[n,k] += w[k,c] * x[n,c]"


def run(*args: str, width: int = 100) -> Result:
    return CliRunner().invoke(main, args, env={"COLUMNS": str(width)}, prog_name="dnnlab")


def ok(*args: str, width: int = 100) -> str:
    result = run(*args, width=width)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def refused(*args: str) -> str:
    """The one line on stderr of a command that ends with exit code 2 and prints nothing else."""
    result = run(*args)
    assert result.exit_code == 2 and result.stdout == "", result.output
    assert result.stderr.startswith("dnnlab: ") and result.stderr.count("\n") == 1
    return result.stderr


def read_json(*args: str) -> Any:
    return json.loads(ok(*args, "--json"), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def read_csv(*args: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(ok(*args, "--csv"), newline="")))


def process(*args: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **variables}
    command = [sys.executable, "-m", "dnnlab", *args]
    return subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False)


def settings_of(**values: int) -> list[str]:
    """`--set n=1 --set k=2` for n=1, k=2."""
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


# -- analyze ---------------------------------------------------------------------------------------------


def test_resnet50_on_an_h100_names_its_totals_and_their_units() -> None:
    text = ok("analyze", "resnet50", "--batch", "8", "--device", "h100-sxm", "--dtype", "fp16")
    net = zoo.resnet50(batch=8)
    assert (net.macs, net.parameters) == (8 * 4_089_184_256, 25_557_032)
    assert "25,557,032 parameters" in text
    assert "32,713,474,048 MACs" in text
    assert f"{net.ops:,} operations" in text
    assert f"{int(net.saved_bytes('fp16')) / 1e6:.0f} MB of activations as PyTorch does it" in text
    assert f"{net.peak_bytes('fp16') / 1e6:.1f} MB of activations as PyTorch does it" in text
    verdict = on(net, device("h100-sxm"), "fp16").sentence()
    assert " ".join(verdict.split()) in " ".join(text.split())
    for node in net.layers:
        assert f"\n{node.name} " in text


@pytest.mark.parametrize(
    ("network", "options", "build"),
    [
        ("resnet50", ["--batch", "8"], lambda: zoo.resnet50(batch=8)),
        ("mobilenet_v2", ["--dtype", "fp32", "--no-overlap"], zoo.mobilenet_v2),
        ("bert_base", ["--batch", "2", "--length", "64", "--device", "t4"], lambda: zoo.bert_base(batch=2, length=64)),
    ],
)
def test_json_has_raw_numbers_that_equal_the_zoo(network: str, options: list[str], build: Any) -> None:
    data, net = read_json("analyze", network, *options), build()
    chosen = dict(pairwise(options))
    machine, dtype = device(chosen.get("--device", "h100-sxm")), chosen.get("--dtype", "fp16")
    overlap = "--no-overlap" not in options
    time: Any = on(net, machine, dtype, overlap)
    totals = data["totals"]
    assert (totals["parameters"], totals["macs"], totals["operations"]) == (net.parameters, net.macs, net.ops)
    assert totals["kept_for_backward_bytes_pytorch"] == int(net.saved_bytes(dtype))
    assert totals["kept_for_backward_bytes_minimum"] == int(net.saved_bytes(dtype, framework=None))
    assert totals["inference_peak_bytes_pytorch"] == net.peak_bytes(dtype)
    assert totals["time_seconds"] == time.total and data["verdict"] == time.sentence()
    assert (data["network"], data["device"], data["overlap"]) == (net.name, machine.name, overlap)
    assert tuple(data["input_shape"]) == net.input_shape
    for row, layer in zip(data["layers"], time.layers, strict=True):
        assert (row["name"], row["bound"]) == (layer.name, layer.bound)
        assert (row["macs"], row["operations"], row["traffic_bytes"]) == (layer.macs, layer.ops, layer.bytes)
        assert row["time_seconds"] == layer.total
    for key in ("macs", "operations", "traffic_bytes"):
        assert totals[key] == sum(row[key] for row in data["layers"])


def test_csv_has_a_row_for_each_layer_and_no_other() -> None:
    rows = read_csv("analyze", "alexnet")
    net = zoo.alexnet()
    assert [row["name"] for row in rows] == [node.name for node in net.layers]
    assert sum(int(row["macs"]) for row in rows) == net.macs
    assert {"traffic_bytes", "time_seconds", "operations"} <= set(rows[0])


def test_batch_and_overlap_count() -> None:
    one, many = (read_json("analyze", "lenet5", "--batch", batch)["totals"] for batch in ("1", "16"))
    assert many["macs"] == 16 * one["macs"] and many["parameters"] == one["parameters"]
    serial = read_json("analyze", "lenet5", "--no-overlap")["totals"]
    assert serial["time_seconds"] == pytest.approx(serial["compute_seconds"] + serial["memory_seconds"])
    assert serial["time_seconds"] > one["time_seconds"]


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize(
    "command", ["analyze resnet50", "analyze gpt2_small --length 32", "networks", "devices", "layers", "devices t4"]
)
def test_tables_fit_the_terminal_and_keep_names_whole(command: str, width: int) -> None:
    lines = ok(*command.split(), width=width).splitlines()
    assert max(map(len, lines)) <= width
    heads = next(place for place, line in enumerate(lines) if line.startswith("---"))
    if not command.startswith("layers"):
        size = len(lines[heads].split()[0])
        rows = lines[heads + 1 : lines.index("", heads)] if "" in lines[heads:] else lines[heads + 1 :]
        assert not any("…" in line[:size] for line in rows)


def test_a_narrow_terminal_keeps_what_matters() -> None:
    wide, narrow = (ok("analyze", "resnet50", width=width).splitlines()[1].split() for width in (140, 80))
    assert {"kind", "MACs", "op/B", "margin", "lanes"} <= set(wide)
    assert {"layer", "operations", "memory", "time", "bound"} <= set(narrow)
    assert len(narrow) < len(wide)


# -- layers ----------------------------------------------------------------------------------------------


def test_layers_shows_the_note_beside_what_is_derived() -> None:
    text = ok("layers", width=160)
    assert "k · 2 · rs · wh · c" in text and "k × 2 × rs × wh × c" in text
    assert "NVIDIA H100 80GB SXM5 in fp16" in text
    rows = read_json("layers", "--device", "t4", "--dtype", "fp32", "--batch", "16")
    cells = layer_cells(device("t4"), "fp32", 16)
    assert [tuple(row.values()) for row in rows] == [
        (c.row, c.column, c.derived, c.note or None, c.verdict, c.condition or None) for c in cells
    ]
    assert [row["derived"] for row in read_csv("layers")] == [c.derived for c in layer_cells()]


# -- cost ------------------------------------------------------------------------------------------------


def test_cost_in_the_lectures_spelling() -> None:
    text = ok("cost", LINE, "--set", "k=1000")
    assert "n · 2000 · c operations (multiply n · 1000 · c, add n · 1000 · c)" in text
    assert "n · 1000 · c MACs" in text
    assert "n · 1000 iterations at once; independent: n, k = 1,000; reducing: c" in text
    assert "for n in range(N):\n    for k in range(1000):\n        for c in range(C):" in text
    assert "backward pass: n · 4000 · c operations, 2 times the forward pass" in text
    assert "d_w[k,c] += d_out[n,k] * x[n,c]  n · 2000 · c operations" in text
    assert "kept for it: x (n · c elements), w (1000 · c elements)" in text


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_cost_against_the_interpreters_count(n: int, k: int, c: int) -> None:
    facts = read_json("cost", LINE, *settings_of(n=n, k=k, c=c))
    ran = interpret(LoopNest(LINE, n=n, k=k, c=c), {})
    found = {(row["quantity"], row["of"]): row["value"] for row in facts if row["line"] == LINE}
    for kind, times in ran.operations.items():
        assert found["operations", kind] == times
    assert found["operations", "all"] == sum(ran.operations.values()) == 2 * found["macs", None]
    for tensor, elements in ran.touched.items():
        assert found["elements", tensor] == elements
        assert found["touches", tensor] == n * k * c
        assert found["reuse", tensor] == pytest.approx(n * k * c / elements)
    assert all(row["unit"] for row in facts), "every number names its unit"


def test_cost_of_several_lines_with_a_local() -> None:
    softmax = ["total[n] += exp(inp[n,c])", "out[n,c] = exp(inp[n,c]) / total[n]"]
    text = ok("cost", *softmax)
    assert "kept for it: inp (n · c elements), total (n elements)" in text
    rows = read_csv("cost", *softmax, "--set", "c=4 * 2")
    kept = {row["of"]: row["value"] for row in rows if row["quantity"] == "kept for backward"}
    assert kept == {"inp": "8*n", "total": "n"}


def test_roles_are_found_out() -> None:
    softmax = read_program(["total[n] += exp(inp[n,c])", "out[n,c] = exp(inp[n,c]) / total[n]"], {})
    assert softmax.having("input", "output") == ("inp", "out") and softmax.locals == ("total",)
    lookup = read_program(["out[n,c] = table[ids[n],c]"], {})
    assert (lookup.role("ids"), lookup.role("table")) == ("constant", "input")


def test_cost_with_settings_lookups_and_updates() -> None:
    conv = "out[y] += w[i] * inp[y*stride+i-pad]"
    text = ok("cost", conv, *settings_of(y=8, i=3, stride=2, pad=1))
    assert "stride = 2\npad = 1\nfor y in range(8):" in text and "24 MACs" in text
    assert "kept for it: ids (n elements)" in ok("cost", "out[n,c] = table[ids[n],c]")
    assert "backward pass: none." in ok("cost", "p[i] = p[i] - lr * g[i]")


def test_cost_on_a_device() -> None:
    sizes = [*settings_of(n=1, k=4096, c=4096), "--device", "h100-sxm"]
    text = ok("cost", LINE, *sizes)
    assert "On NVIDIA H100 80GB SXM5 in fp16 it is memory-bound: moving 33.6 MB takes 10 µs" in text
    facts = {(row["quantity"], row["of"]): row for row in read_json("cost", LINE, *sizes)}
    assert facts["bound", None]["value"] == "memory"
    assert facts["time", "all"]["value"] == pytest.approx(2 * (4096**2 + 2 * 4096) / 3.35e12)
    assert facts["time", "all"]["unit"] == "seconds"
    assert "bind them: --set c=... --set n=..." in refused("cost", LINE, "--set", "k=3", "--device", "t4")


# -- lists -----------------------------------------------------------------------------------------------


def test_devices_and_networks() -> None:
    rows = read_json("devices")
    assert [row["id"] for row in rows] == [known.id for known in devices()]
    assert rows[1]["bandwidth_bytes_per_second"] == device(rows[1]["id"]).bandwidth
    assert rows[1]["dtypes"] == list(device(rows[1]["id"]).peak)
    own = ok("devices", "h100-sxm")
    assert "989.4 TFLOP/s" in own and "verified" in own and "\n[1] " in own
    (price,) = [row for row in read_csv("devices", "t4") if row["figure"] == "price"]
    assert price["date"] and price["source"]
    nets = {row["id"]: row for row in read_json("networks")}
    assert list(nets) == list(zoo.ZOO)
    assert nets["resnet50"]["macs"] == zoo.resnet50().macs and nets["vgg16"]["parameters"] == 138_357_544


# -- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["analyze", "resnet51"], "unknown network 'resnet51'; did you mean 'resnet50'? Known: lenet5"),
        (["analyze", "resnet50", "--device", "h100"], "unknown device 'h100'; did you mean 'h100-sxm'?"),
        (["analyze", "resnet50", "--dtype", "fp61"], "unknown dtype 'fp61'"),
        (["analyze", "resnet50", "--device", "t4", "--dtype", "bf16"], "unknown dtype of NVIDIA T4 'bf16'"),
        (["analyze", "resnet50", "--batch", "0"], "= 0: expected a whole number of at least 1"),
        (["analyze", "resnet50", "--length", "8"], "takes no --length; it is for bert_base, gpt2_small, llama"),
        (["analyze", "bert_base", "--length", "513"], "only v = 512 rows"),
        (["analyze", "resnet50", "--device", "eyeriss", "--dtype", "int16"], "has no known bandwidth"),
        (["analyze", "lenet5", "--json", "--csv"], "--json and --csv exclude each other"),
        (["layers", "--batch", "-1"], "n = -1: expected a whole number"),
        (["devices", "rtx-4091"], "did you mean 'rtx-4090'?"),
        (["analyse", "resnet50"], "unknown command 'analyse'; did you mean 'analyze'?"),
        (["cost", LINE, "--set", "q=3"], "unknown index or setting 'q'. Known: n, k, c"),
        (["cost", LINE, "--set", "k"], "expected NAME=VALUE, such as --set k=1000"),
        (["cost", LINE, "--set", "k=1", "--set", "k=2"], "k is already 1"),
        (["cost", LINE, "--set", "k=0"], "k = 0: expected a whole number of at least 1"),
        (["cost", LINE, "--set", "k=9**9**9"], "9**9**9"),
        (["cost", LINE, "--set", "k=__import__('os')"], "is not allowed"),
        (["cost", "out[i] = __import__('os').system('id')"], "cannot be called"),
        (["cost", "out[i] = 9**9**9"], "9**9**9"),
        (["cost", "out[i*j] = inp[i]"], "not affine"),
        (["cost", "out[i] = (inp[i]"], "bracket"),
        (["cost", "out[i] = " + "-" * 900 + "inp[i]"], "nest"),
        (["cost", "x" * 5000], "at most 1000"),
        (["cost", ""], "one statement is read at a time"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(args: list[str], message: str) -> None:
    line = refused(*args)
    assert message in line and len(line) < 1000


@settings(max_examples=150)
@given(st.text(max_size=60) | st.text("outin[],ijk+-*/= ()0.9max", max_size=40))
def test_no_line_breaks_the_command(text: str) -> None:
    result = run("cost", "--", text)
    assert result.exit_code in (0, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    if result.exit_code:
        assert result.stderr.count("\n") == 1 and result.stdout == ""


# -- a process of its own --------------------------------------------------------------------------------


def test_version_and_help() -> None:
    found = process("--version")
    assert found.returncode == 0 and found.stdout.decode().split() == ["dnnlab,", "version", __version__]
    text = process("--help").stdout.decode()
    for command in ("layers", "cost", "analyze", "devices", "networks"):
        assert f"\n  {command} " in text
    assert b"--no-overlap" in process("analyze", "-h").stdout


def test_a_process_prints_right_totals_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from dnnlab.cli import main; main(['analyze', 'resnet50', '--batch', '8'], standalone_mode=False);"
        "print(*sorted({'numpy', 'matplotlib', 'ipywidgets', 'IPython', 'torch'} & set(sys.modules)), file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, timeout=120, check=True)
    assert "32,713,474,048 MACs" in found.stdout.decode()
    assert found.stderr.split() == []


def test_an_error_leaves_stdout_empty() -> None:
    found = process("analyze", "resnet51")
    assert (found.returncode, found.stdout) == (2, b"")
    assert found.stderr.startswith(b"dnnlab: unknown network 'resnet51'") and b"Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("encoding", "form"), [("ascii", []), ("cp1252", []), ("utf-8", []), ("ascii", ["--json"]), ("cp1252", ["--csv"])]
)
def test_any_encoding_of_the_terminal_will_do(encoding: str, form: list[str]) -> None:
    found = process("layers", *form, PYTHONIOENCODING=encoding, PYTHONUTF8="0", LC_ALL="C")
    assert found.returncode == 0 and found.stderr == b""
    assert b"Convolution" in found.stdout
    if form == ["--json"]:
        assert json.loads(found.stdout)[1]["derived"] == "k · 2 · rs · wh · c"
    elif encoding != "ascii":
        assert "k · 2 · rs · wh · c" in found.stdout.decode(encoding)


def test_a_closed_pipe_is_no_crash() -> None:
    command = [sys.executable, "-m", "dnnlab", "analyze", "resnet50"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        assert b"Traceback" not in running.stderr.read()
