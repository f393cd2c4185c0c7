"""Imported ONNX files: built by hand, and written by PyTorch's exporter where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

onnx = pytest.importorskip("onnx", reason="the package onnx is an extra: pip install dnnlab[onnx]")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import dnnlab as dl  # noqa: E402
from dnnlab import Network  # noqa: E402
from dnnlab.cli import main  # noqa: E402
from dnnlab.errors import DnnlabError  # noqa: E402
from dnnlab.importing import LeftOut, from_onnx  # noqa: E402

pytestmark = pytest.mark.filterwarnings(f"error::{LeftOut.__module__}.LeftOut")


FLOAT = TensorProto.FLOAT


def weights(**shapes: Any) -> list[Any]:
    """Tensors of the file: a shape is filled with numbers, a list is itself (integers)."""
    rng = np.random.default_rng(0)
    made = []
    for name, value in shapes.items():
        array = np.asarray(value) if isinstance(value, list) else rng.standard_normal(value).astype(np.float32)
        made.append(numpy_helper.from_array(array, name.replace("__", ".")))
    return made


def write(
    path: Path,
    nodes: list[Any],
    shape: tuple[Any, ...],
    held: list[Any],
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
) -> Path:
    """A file with one input "x" and the last node's output."""
    entry = helper.make_tensor_value_info("x", kind, shape)
    leave = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "by hand", [entry], [leave], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), path)
    return path


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def test_a_convolutional_network(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x stem.conv.weight stem.conv.bias", "a", strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("BatchNormalization", "a stem.norm.weight stem.norm.bias mean var", "b"),
        node("Clip", "b zero six", "c"),
        node("Conv", "c deep.weight", "d", group=8, pads=[1, 1, 1, 1]),
        node("Add", "d c", "e"),
        node("MaxPool", "e", "f", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", "f", "g"),
        node("Flatten", "g", "h"),
        node("Gemm", "h fc.weight fc.bias", "out", transB=1),
    ]
    held = weights(
        stem__conv__weight=(8, 3, 3, 3), stem__conv__bias=(8,), stem__norm__weight=(8,), stem__norm__bias=(8,),
        mean=(8,), var=(8,), deep__weight=(8, 1, 3, 3), fc__weight=(10, 8), fc__bias=(10,),
    )  # fmt: skip
    held += [numpy_helper.from_array(np.float32(value), name) for name, value in (("zero", 0), ("six", 6))]
    net = Network.from_onnx(write(tmp_path / "net.onnx", nodes, (2, 3, 16, 16), held))
    build = dl.Builder("by hand", 2, 3, 16, 16)
    build.add("stem.conv", dl.Conv2d(k=8, r=3, s=3, stride=2, padding=1, bias=True))
    build.add("stem.norm", dl.BatchNorm2d(training=False))
    x = build.add("clip", dl.ReLU6())
    build.add("deep", dl.DepthwiseConv2d(r=3, s=3, padding=1))
    build.add("add", dl.Add(), "deep", x)
    build.add("maxpool", dl.MaxPool2d(r=2, s=2))
    build.add("globalaveragepool", dl.GlobalAvgPool2d())
    build.add("flatten", dl.Flatten())
    build.add("fc", dl.Linear(k=10, bias=True))
    assert net.rows() == build.network().rows()
    assert net.saved_bytes() == build.network().saved_bytes()


def test_borders_that_differ_and_borders_by_name(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "a", pads=[0, 1, 2, 1]),
        node("Conv", "a v", "b", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("AveragePool", "b", "c", kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
    ]
    net = from_onnx(write(tmp_path / "net.onnx", nodes, (1, 2, 9, 9), weights(w=(4, 2, 3, 3), v=(4, 4, 3, 3))))
    assert [(row.kind, row.output_shape) for row in net.rows()] == [
        ("Copy", (1, 2, 11, 11)), ("Conv2d", (1, 4, 9, 9)), ("Conv2d", (1, 4, 5, 5)),
        ("Copy", (1, 4, 6, 6)), ("AvgPool2d", (1, 4, 5, 5)),
    ]  # fmt: skip
    assert net.macs == 4 * 2 * 9 * 81 + 4 * 4 * 9 * 25


def transformer(opset: int) -> tuple[list[Any], list[Any]]:
    """Layer norm, attention and a feed-forward layer with GELU, as files spell them before opset 17."""
    nodes = [node("Gather", "table x", "e")]
    if opset >= 17:
        nodes.append(node("LayerNormalization", "e norm.weight norm.bias", "n", axis=-1))
    else:
        nodes += [
            node("ReduceMean", "e", "mean", axes=[-1], keepdims=1), node("Sub", "e mean", "centred"),
            node("Pow", "centred two", "squared"), node("ReduceMean", "squared", "var", axes=[-1], keepdims=1),
            node("Add", "var eps", "shifted"), node("Sqrt", "shifted", "root"), node("Div", "centred root", "unit"),
            node("Mul", "unit norm.weight", "scaled"), node("Add", "scaled norm.bias", "n"),
        ]  # fmt: skip
    for part in "qkv":
        nodes += [
            node("MatMul", f"n {part}.weight", f"{part}0"), node("Add", f"{part}.bias {part}0", f"{part}1"),
            node("Reshape", f"{part}1 split", f"{part}2"),
            node("Transpose", f"{part}2", part, perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]),
        ]  # fmt: skip
    nodes += [
        node("MatMul", "q k", "s0"), node("Div", "s0 two", "s1"), node("Softmax", "s1", "p", axis=-1),
        node("MatMul", "p v", "o0"), node("Transpose", "o0", "o1", perm=[0, 2, 1, 3]), node("Reshape", "o1 join", "o2"),
        node("Add", "o2 e", "r"), node("MatMul", "r up.weight", "u0"), node("Add", "u0 up.bias", "u"),
    ]  # fmt: skip
    if opset >= 20:
        nodes.append(node("Gelu", "u", "g"))
    else:
        nodes += [
            node("Div", "u rt", "g0"), node("Erf", "g0", "g1"), node("Add", "g1 one", "g2"), node("Mul", "u g2", "g3"),
            node("Mul", "g3 half", "g"),
        ]  # fmt: skip
    nodes += [node("Sigmoid", "g", "y0"), node("Mul", "g y0", "y")]
    held = weights(
        table=(50, 12), norm__weight=(12,), norm__bias=(12,), split=[0, 0, 3, 4], join=[0, 0, 12], up__weight=(12, 20),
        up__bias=(20,), **{f"{part}__weight": (12, 12) for part in "qkv"}, **{f"{part}__bias": (12,) for part in "qkv"},
    )  # fmt: skip
    numbers = {"two": 2, "eps": 1e-5, "rt": 2**0.5, "one": 1, "half": 0.5}
    return nodes, held + [numpy_helper.from_array(np.float32(value), name) for name, value in numbers.items()]


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_a_transformer_is_the_same_however_it_is_spelled(tmp_path: Path, opset: int) -> None:
    nodes, held = transformer(opset)
    net = from_onnx(write(tmp_path / "net.onnx", nodes, (2, 7), held, opset, TensorProto.INT64))
    assert [(row.kind, row.output_shape, row.parameters) for row in net.rows()] == [
        ("Embedding", (2, 7, 12), 600), ("LayerNorm", (2, 7, 12), 24),
        *[("BatchedLinear", (2, 7, 12), 156)] * 3, ("ScaledDotProductAttention", (2, 7, 12), 0), ("Add", (2, 7, 12), 0),
        ("BatchedLinear", (2, 7, 20), 260), ("GELU", (2, 7, 20), 0), ("SiLU", (2, 7, 20), 0),
    ]  # fmt: skip
    assert net["q"].kind == "BatchedLinear" and net.macs == 2 * 7 * (3 * 144 + 240) + 2 * 2 * 3 * 49 * 4


def test_open_dimensions_get_numbers_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", [node("Gemm", "x w", "y")], ("batch", 4), weights(w=(4, 3)))
    with pytest.raises(
        DnnlabError, match=r"'x' leaves dimensions open: batch. Give sizes: from_onnx\(path, batch=...\)"
    ):
        Network.from_onnx(path)
    assert from_onnx(path, batch=5).rows() == Network.from_onnx(path, batch=5).rows()
    assert from_onnx(path, batch=5).macs == 60
    with pytest.raises(DnnlabError, match="no open dimension is called 'n'; the file has batch"):
        from_onnx(path, batch=5, n=3)


def test_unknown_operations_stand_in_the_network(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w", "a"), node("CumSum", "a axis", "b"), node("Relu", "b", "c")]
    path = write(
        tmp_path / "net.onnx", nodes, (2, 4), [*weights(w=(4, 3)), numpy_helper.from_array(np.int64(1), "axis")]
    )
    with pytest.warns(LeftOut, match=r"without CumSum \(CumSum, output \(2, 3\)\)") as said:
        net = Network.from_onnx(path)
    assert said[0].filename == __file__
    assert [node_.kind for node_ in net.left_out] == ["CumSum"] and net.macs == 24


def test_weights_that_lie_elsewhere_are_not_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", [node("Gemm", "x w", "y")], (2, 40), weights(w=(40, 30)))
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert from_onnx(path).macs == 2400


def test_a_shape_that_lies_elsewhere_is_missed(tmp_path: Path) -> None:
    nodes = [node("Reshape", "x shape", "a"), node("Relu", "a", "y")]
    path = write(tmp_path / "net.onnx", nodes, (2, 40), weights(shape=[8, 10]))
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="shapes.bin", size_threshold=0)
    (tmp_path / "shapes.bin").unlink()
    with pytest.raises(DnnlabError, match="small constants in the file"):
        from_onnx(path)


def test_files_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DnnlabError, match="absent' cannot be opened: No such file"):
        from_onnx(tmp_path / "absent")
    text = tmp_path / "text.onnx"
    text.write_text("this is no network")
    with pytest.raises(DnnlabError, match="is no ONNX file"):
        from_onnx(text)
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(DnnlabError, match="is no ONNX file, or its graph has no operation"):
        from_onnx(tmp_path / "empty.onnx")
    branch = helper.make_graph([], "branch", [], [])
    choice = node("If", "x", "y", then_branch=branch, else_branch=branch)
    with pytest.raises(DnnlabError, match="chooses what to compute when it runs"):
        from_onnx(write(tmp_path / "if.onnx", [choice], (1,), [], kind=TensorProto.BOOL))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["lenet5", "dense", "tokens", "sound", "unet", "inception", "llama"])
def test_a_file_that_pytorch_writes(tmp_path: Path, name: str) -> None:
    """The network of the file is the network of the module; batch norm is folded into convolutions where it can."""
    torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install dnnlab[torch]")
    pytest.importorskip("onnxscript", reason="PyTorch writes ONNX with onnxscript")
    from test_importing_torch import facts
    from test_networks_torch import CASES, inputs, module

    model = module(CASES[name], "cpu").eval()
    with torch.no_grad():  # equal tensors are written once
        for parameter in model.parameters():
            parameter.normal_()
    example = inputs(CASES[name], 2, "cpu")
    torch.onnx.export(model, example, tmp_path / "net.onnx", dynamo=True, verbose=False)
    net, ours = Network.from_onnx(tmp_path / "net.onnx"), Network.from_torch(model, example)
    assert facts(net) == facts(ours)
    if name != "llama":  # the first of two names for the same turn of keys and queries
        assert [node_.name for node_ in net.layers] == [node_.name for node_ in ours.layers]
    if not any(node_.in_place for node_ in ours.layers):  # a file does not say what is overwritten
        assert net.saved_bytes() == ours.saved_bytes() and net.peak_bytes() == ours.peak_bytes()


def test_the_command_line_reads_a_file(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w", "a"), node("CumSum", "a axis", "b"), node("Relu", "b", "c")]
    held = [*weights(w=(4, 3)), numpy_helper.from_array(np.int64(1), "axis")]
    path = str(write(tmp_path / "net.onnx", nodes, ("rows", 4), held))
    run = CliRunner().invoke(main, ["analyze", path, "--set", "rows=5", "--json", "--dtype", "fp32"])
    record = json.loads(run.stdout)
    assert record["totals"]["macs"] == 60 and record["input_shape"] == [5, 4]
    assert run.stderr.startswith("dnnlab: by hand: totals are without CumSum")
    again = CliRunner().invoke(main, ["analyze", path, "--set", "rows=5", "--batch", "10", "--json"])
    assert json.loads(again.stdout)["totals"]["macs"] == 120
    for arguments, words in (
        ([path], "leaves dimensions open: rows"),
        ([path, "--set", "rows=many"], "expected a size such as rows=8"),
        (["resnet18", "--set", "rows=5"], "--set gives sizes to an ONNX file"),
    ):
        refused = CliRunner().invoke(main, ["analyze", *arguments])
        assert refused.exit_code == 2 and words in refused.stderr
