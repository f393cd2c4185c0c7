"""PyTorch's calls compute what the layers' lines say, and what is counted is what PyTorch itself tells."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from witness import WITNESSES, Values

from dnnlab import layers as dl
from dnnlab import vectorised
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.importing.functions import FORMULAS
from dnnlab.layers import CATALOGUE, Layer
from dnnlab.measuring.in_torch.products import RELAID
from dnnlab.measuring.in_torch.support import supports
from dnnlab.measuring.in_torch.work import work
from dnnlab.measuring.timing import steady

torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install dnnlab[torch]")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from dnnlab.measuring.in_torch import calls as torch_calls  # noqa: E402
from dnnlab.measuring.layers import measure  # noqa: E402

torch.set_num_threads(1)  # the arrays are tiny, and other tests run beside this one

OPTIONS = st.composite(lambda draw, name: WITNESSES[name].draw(draw))
OTHERS: tuple[Layer, ...] = (
    dl.MatrixProduct(b=3, t=4, d=5, u=6),
    dl.GroupNorm(n=2, c=8, h=5, w=4, groups=2),
    dl.GroupNorm(n=2, c=6, h=5, w=4, scale=False, shift=False),
    dl.Sum(n=3, m=7),
    dl.Mean(n=3, m=7),
    dl.Subtract(shape=(3, 4)),
    dl.Divide().fit((2, 3, 4), (3, 1)),
    dl.Copy(source=(4, 6), target=(2, 3)),
    dl.LayerNorm(n=2, t=3, c=5, scale=False, shift=False),
    *(
        dl.Pointwise(name=name, expression=text, m=40)
        for key, (name, text) in FORMULAS.items()
        if key not in ("elu", "selu")  # their constants are PyTorch's own
    ),
    dl.Pointwise(name="Power", expression="{x}**3", m=40),
)


def agree(layer: Layer, seed: int = 0) -> None:
    """PyTorch's output and what it changes, against the lines."""
    ready = torch_calls.call(layer, "fp64", seed)
    program = layer.program
    lines = {name: tensor.numpy().reshape(program.shape(name)).copy() for name, tensor in ready.tensors.items()}
    expected = vectorised.run(program, lines, torch_calls.scalars(layer))
    out = ready.run()
    assert tuple(out.shape) == layer.output_shape
    (output,) = program.having("output") or ("param",)
    close(out, expected[output], f"{layer}")
    if not (isinstance(layer, dl.BatchNorm2d) and layer.training):  # there PyTorch's variance is the unbiased one
        for name in program.having("state"):
            close(ready.tensors[name], expected[name], f"{layer}: {name}")


def close(found: Any, expected: Any, what: str) -> None:
    np.testing.assert_allclose(found.numpy(), np.reshape(expected, found.shape), rtol=1e-6, atol=1e-8, err_msg=what)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "Flatten"])
def test_the_output_is_that_of_the_lines(name: str) -> None:
    @settings(max_examples=40, deadline=None)
    @given(OPTIONS(name), st.integers(0, 2**31))
    def law(o: Values, seed: int) -> None:
        layer = CATALOGUE[name](**o)
        assume(not supports(layer, "fp64"))
        agree(layer, seed)

    law()


@pytest.mark.parametrize("layer", OTHERS, ids=str)
def test_layers_that_are_not_in_the_catalogue_too(layer: Layer) -> None:
    agree(layer)


def test_a_viewed_layer_runs_as_the_layer_inside() -> None:
    viewed = dl.Viewed(layer=dl.Linear(n=32, k=10, c=3), sources=((2, 4, 4, 3),), target=(2, 4, 4, 10))
    assert tuple(torch_calls.call(viewed, "fp32").run().shape) == (32, 10)
    assert work(viewed, "fp32") == work(dl.Linear(n=32, k=10, c=3), "fp32")


#: One small layer of each kind: what PyTorch runs for it, and the bytes that cross, are read off the dispatcher.
SMALL: tuple[Layer, ...] = (
    dl.Conv2d(n=2, k=16, c=16, h=30, w=30, r=3, s=3),
    dl.Conv2d(n=2, k=16, c=16, h=30, w=30, r=2, s=2, stride=2),
    dl.DepthwiseConv2d(n=2, k=8, h=10, w=10, r=3, s=3),
    dl.PointwiseConv2d(n=2, k=8, c=8, h=10, w=10),
    dl.Conv1d(n=2, k=8, c=8, w=100, s=4, stride=2),
    dl.ConvTranspose2d(n=2, k=8, c=8, h=10, w=10, r=2, s=2, stride=2),
    dl.Linear(n=4, k=8, c=6),
    dl.BatchedLinear(n=2, t=4, k=8, c=6),
    dl.MatrixProduct(b=3, t=4, d=5, u=6),
    dl.MaxPool2d(n=2, c=3, h=8, w=8, r=2, s=2),
    dl.AvgPool2d(n=2, c=3, h=8, w=8, r=2, s=2),
    dl.AdaptiveAvgPool2d(n=2, c=3, h=8, w=8, y=2, x=2),
    dl.GlobalAvgPool2d(n=2, c=3, h=8, w=8),
    dl.LayerNorm(n=2, t=5, c=64),
    dl.RMSNorm(n=2, t=5, c=64),
    dl.GroupNorm(n=2, c=8, h=8, w=8, groups=2),
    *(dl.CATALOGUE[name](m=1000) for name in ("ReLU", "ReLU6", "LeakyReLU", "Sigmoid", "Tanh", "HardSwish", "GELU")),
    *(dl.CATALOGUE[name](m=1000) for name in ("SiLU", "Dropout", "Add", "Multiply")),
    dl.Pointwise(name="Exp", expression="exp({x})", m=1000),
    dl.PReLU(n=2, c=3, m=50),
    dl.Softmax(n=5, c=30),
    dl.Concatenate(n=2, m=30, parts=(2, 3)),
    dl.AddEmbedding(n=2, t=30, v=30, c=16),
    dl.RotaryEmbedding(n=2, t=10, a=3, d=8),
    dl.ScaledDotProductAttention(n=2, t=20, u=20, a=4, d=8),
    dl.ScaledDotProductAttention(n=2, t=20, u=20, a=4, d=8, dropout=True),
    dl.ScaledDotProductAttention(n=2, t=20, u=20, a=4, d=8, g=2, causal=True, dropout=True),
    dl.FeedForward(n=2, t=20, c=16, m=64, gated=True, activation="silu"),
    dl.Mean(n=5, m=100),
    dl.SGD(p=1000),
    dl.Momentum(p=1000),
    dl.Adam(p=1000),
)
VIEWS = ("view", "_unsafe_view", "transpose", "t", "permute", "slice", "select", "unsqueeze", "expand", "as_strided")
SMALL_OPERANDS = 0.04  # running statistics and sums of rows that an operation returns besides its result


class Operations(TorchDispatchMode):
    """What the dispatcher carries out while it watches: names, and the bytes that cross."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.moved = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        name = function.__name__.partition(".")[0]
        if name not in (*VIEWS, "empty"):
            flat = [part for arg in args for part in (arg if isinstance(arg, list | tuple) else [arg])]
            read = {part.data_ptr(): part for part in flat if isinstance(part, torch.Tensor)}
            written = made if isinstance(made, tuple) else (made,)
            every = [*read.values(), *(part for part in written if isinstance(part, torch.Tensor))]
            self.moved += sum(part.numel() * part.element_size() for part in every)
            self.names.append(name)
        return made


@pytest.mark.parametrize("layer", SMALL, ids=str)
def test_calls_and_bytes_are_those_of_the_dispatcher(layer: Layer) -> None:
    ready = torch_calls.call(layer, "fp32")
    with Operations() as seen:
        ready.run()
    found = work(layer, "fp32")
    assert found.calls == len(seen.names), seen.names
    # a copy that an operation makes inside is not seen from here, one that is an operation of its own is; nor is it
    # seen that the place of a result is fetched before it is written
    copies = found.copied if any(name in ("clone", "constant_pad_nd") for name in seen.names) else 0
    own = found.moved - found.copied - found.fetched
    assert own <= seen.moved * (1 + SMALL_OPERANDS)
    assert seen.moved <= (own + copies) * (1 + SMALL_OPERANDS)


def test_oneDNN_lays_out_anew_what_is_counted() -> None:
    """oneDNN tells each reorder with its shape: what it reads and writes is what is counted as copied."""
    layers = (
        "Conv2d(n=2, k=16, c=24, h=20, w=18, r=3, s=3)",
        "Conv2d(n=1, k=64, c=64, h=56, w=56, r=3, s=3, dilation=2)",
        "Conv2d(n=2, k=64, c=32, h=20, w=18, r=1, s=1)",
        "Conv2d(n=2, k=16, c=3, h=20, w=18, r=5, s=5)",
        "Conv2d(n=1, k=16, c=16, h=8, w=8, r=3, s=3)",
        "Conv2d(n=2, k=16, c=3, h=40, w=40, r=11, s=11, stride=4, padding=2)",
        "Conv2d(n=2, k=16, c=3, h=40, w=40, r=11, s=11, stride=4, padding=0)",
        "Conv2d(n=2, k=16, c=16, h=40, w=40, r=9, s=9, stride=(1, 2), padding=4)",
        "Conv1d(n=2, k=16, c=3, w=640, s=11, stride=4, padding=2)",
        "DepthwiseConv2d(n=2, k=32, h=20, w=18, r=3, s=3)",
        "Conv1d(n=2, k=16, c=24, w=400, s=3)",
        "ConvTranspose2d(n=2, k=16, c=32, h=10, w=10, r=2, s=2, stride=2)",
    )
    code = f"""
import torch
from dnnlab.layers import *
from dnnlab.measuring.in_torch import calls as torch_calls
for layer in ({", ".join(layers)}):
    run = torch_calls.call(layer, "fp32").run
    run()
    print("layer", flush=True)
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        run()
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True).stdout
    if "isa:Intel AVX2\n" not in told:
        pytest.skip("blocks of 8 channels are those of AVX2")
    for text, lines in zip(layers, told.split("layer\n")[1:], strict=True):
        layer = eval(text, vars(dl))  # written above
        shapes = re.findall(r",reorder,.*?,,([\dx]+),", lines)
        elements = sum(int(np.prod([int(size) for size in shape.split("x")])) for shape in shapes)
        found = work(layer, "fp32")
        if shapes and ":gemm:" not in lines:
            assert found.copied == RELAID * 4 * elements, text
            assert found.functions["relaid"] == elements, text
        else:  # through columns, which are multiplied by oneDNN, or for a single small image by MKL
            assert ("convolution" in lines) == (":gemm:" in lines) and "relaid" not in found.functions
            columns = layer.activations // layer.k * (layer.macs // layer.activations)
            assert found.copied > RELAID * 4 * (columns + elements), text


@pytest.mark.parametrize("dtype", ["fp64", "fp32", "bf16", "fp16"])
def test_every_kind_runs_in_every_dtype(dtype: str) -> None:
    for layer in (*SMALL, dl.BatchNorm2d(n=2, c=3, h=4, w=4), dl.Embedding(n=2, t=3, v=5, c=4)):
        out = torch_calls.call(layer, dtype).run()
        assert out.dtype == getattr(
            torch, {"fp64": "float64", "fp32": "float32", "bf16": "bfloat16"}.get(dtype, "half")
        )
        assert bool(torch.isfinite(out).all()), layer
        assert work(layer, dtype).moved >= layer.activations * out.element_size()


@given(st.sampled_from(["Linear", "Conv2d"]), st.integers(1, 64), st.integers(1, 64), st.integers(2, 64))
def test_counts_are_no_less_than_the_layer_needs(kind: str, k: int, c: int, n: int) -> None:
    layer = dl.Linear(n=n, k=k, c=c) if kind == "Linear" else dl.Conv2d(n=n, k=k, c=c, h=9, w=7, r=3, s=3)
    for dtype, size in (("fp32", 4), ("fp64", 8), ("bf16", 2)):
        found = work(layer, dtype)
        assert found.matrix == 2 * layer.macs
        assert found.moved - found.copied >= layer.traffic * size and found.working >= layer.traffic * size
        on_gpu = work(layer, dtype, "cuda")
        assert (on_gpu.copied, on_gpu.fetched, dict(on_gpu.functions)) == (0, 0, {})
        assert on_gpu.matrix == found.matrix and on_gpu.moved == found.moved - found.copied - found.fetched


def test_fp32_is_not_rounded_to_tf32() -> None:
    rounds = torch.backends.cudnn.allow_tf32
    with torch_calls.exact():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == rounds


def test_a_queue_is_filled_where_the_clock_waits_for_it() -> None:
    """A clock that takes 30 µs to read, as a GPU's does: with its tick, that hardly counts in a call of 10 µs."""
    now = 0.0

    def call() -> None:
        nonlocal now
        now += 10e-6

    def clock() -> float:
        nonlocal now
        now += 30e-6
        return now

    assert steady(call, 0.1, clock=clock, tick=torch_calls.tick("cuda")).median < 12e-6
    assert steady(call, 0.1, clock=clock, tick=torch_calls.tick("cpu")).median > 20e-6


@pytest.mark.skipif(sys.platform != "linux", reason="pages are counted as Linux does")
def test_a_result_can_be_made_to_go_to_fresh_memory() -> None:
    """The system counts the pages that it hands out: those of the result, unless it is kept, small or in place; in a
    process of its own, whose memory has no history."""
    code = """
import resource
from dnnlab import layers as dl
from dnnlab.measuring.in_torch import calls
from dnnlab.measuring.timing import kept_memory

def pages(run):  # in the steady state: results may go to several places in turn
    for _ in range(30):
        run()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10

with kept_memory() as kept:
    large, small, inside = (calls.call(one, "fp32") for one in (dl.ReLU(m=2**22), dl.ReLU(m=2**12), dl.SGD(p=2**22)))
    runs = large.run, *map(calls.lost, (large, small, inside))
    print(kept, 2**24 // resource.getpagesize(), *map(pages, runs))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    if told[0] == "False":
        pytest.skip("another C library")
    whole, kept, large, small, inside = map(int, told[1:])
    assert max(kept, small, inside) < whole / 10 and 0.9 * whole <= large <= 1.1 * whole


def test_what_is_made_in_place_is_not_lost() -> None:
    update = torch_calls.call(dl.SGD(p=2**16), "fp32")
    before = update.tensors["param"].clone()
    torch_calls.lost(update)()
    assert not torch.equal(update.tensors["param"], before) and bool(update.tensors["param"].all())
    found = measure([dl.ReLU(m=2**20)], "torch", seconds=0.01, fresh=True)
    assert not found.kept


def test_what_is_packed_and_what_is_not() -> None:
    """A weight is read once for one row; for several it is packed first, and that costs crossings."""
    one, two = (work(dl.Linear(n=n, k=500, c=300), "fp32") for n in (1, 2))
    assert one.copied == 0 and two.copied == RELAID * 4 * (500 * 300 + 2 * 300)
    assert work(dl.Linear(n=2, k=500, c=300), "bf16").copied == 0  # no matrix product of MKL


def test_blocks_of_keys_that_no_query_may_see_are_left_out() -> None:
    full = dl.ScaledDotProductAttention(n=1, t=512, u=512, a=2, d=8)
    causal = full.at(causal=True)
    blocks = sum(64 * 64 * (i + 1) for i in range(8))
    assert work(full, "fp32").matrix == 4 * 2 * 8 * 512 * 512
    assert work(causal, "fp32").matrix == 4 * 2 * 8 * blocks
    assert work(causal, "fp32").functions["exp"] == 2 * blocks


def test_tensors_are_the_same_for_the_same_seed_and_no_number_is_slow() -> None:
    layer = dl.Adam(p=5000)
    first, again, other = (torch_calls.call(layer, "fp32", seed).tensors for seed in (3, 3, 4))
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name]) and not torch.equal(tensor, other[name])
        assert bool(((tensor == 0) | (tensor.abs() > 1e-30)).all()), name
    assert bool((first["second"] > 0).all())
    assert torch_calls.call(layer, "fp32").held == 4 * 4 * 5000


def test_the_clock_and_the_memory_of_the_processor() -> None:
    read = torch_calls.clock("cpu")
    begin = read()
    assert read() >= begin
    free = torch_calls.free("cpu")
    assert free is None or free > 0


# -- refusals --------------------------------------------------------------------------------------------


def test_what_cannot_run_says_why() -> None:
    assert supports(dl.ReLU(m=3), "fp8") == "PyTorch runs layers in fp64, fp32, bf16, fp16, not in fp8"
    for layer, part in (
        (dl.AvgPool2d(n=1, c=1, h=9, w=9, r=2, s=2, dilation=2), "AvgPool2d: PyTorch has no average pooling with dil"),
        (dl.MaxPool2d(n=1, c=1, h=9, w=9, r=2, s=2, padding=2, ceil=True), "no border wider than half a window"),
        (dl.BatchNorm2d(n=1, c=4, h=1, w=1), "more than one value"),
        (dl.ConvTranspose2d(n=1, k=1, c=1, h=4, w=4, r=3, s=3, output_padding=1), "output_padding smaller"),
        (dl.View(source=(2, 3), target=(6,)), "View: nothing runs"),
        (dl.Given(role="parameter", shape=(3,)), "Parameter: nothing runs"),
        (dl.Unknown(operation="lstm", sources=((5, 8),), target=(5, 8)), "lstm: PyTorch has no call"),
        (dl.Pointwise(name="Odd", expression="{x} * {x} * {x}", m=3), "Odd: PyTorch has no call for its expression"),
    ):
        assert part in supports(layer, "fp32")
        for ask in (torch_calls.call, work):
            with pytest.raises(DnnlabError, match=re.escape(part)):
                ask(layer, "fp32")


def test_open_symbols_unknown_places_and_a_missing_gpu() -> None:
    for ask in (torch_calls.call, work):
        with pytest.raises(ExtentError, match="c is open"):
            ask(dl.Linear(n=1, k=3), "fp32")
        with pytest.raises(UnknownNameError, match="place"):
            ask(dl.ReLU(m=3), "fp32", **{"place": "tpu"})
    if not torch.cuda.is_available():
        with pytest.raises(DnnlabError, match="no GPU"):
            torch_calls.call(dl.ReLU(m=3), "fp32", 0, "cuda")


def test_counting_needs_no_pytorch_and_running_says_how_to_get_it() -> None:
    code = """
import sys
sys.modules["torch"] = None
from dnnlab import Conv2d
from dnnlab.errors import DnnlabError
from dnnlab.measuring.in_torch import calls as torch_calls, work as torch_work
conv = Conv2d(n=2, k=8, c=8, h=9, w=9, r=3, s=3)
assert torch_work.work(conv, "fp32").matrix == 2 * conv.macs
try:
    torch_calls.call(conv, "fp32")
except DnnlabError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert 'pip install "dnnlab[torch]"' in told
