"""NumPy's recipes: their results are those of the layers' lines, and their count is what NumPy is seen to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from witness import WITNESSES, Values, arrays

import dnnlab
from dnnlab import vectorised
from dnnlab.errors import DnnlabError, ExtentError
from dnnlab.layers import (
    CATALOGUE,
    Conv2d,
    GroupNorm,
    Layer,
    MatrixProduct,
    MaxPool2d,
    Mean,
    Pointwise,
    Sum,
    View,
    Viewed,
)
from dnnlab.measuring.calls import NUMBERS
from dnnlab.measuring.in_numpy import calls as numpy_calls
from dnnlab.measuring.in_numpy.steps import TYPES, phantom
from dnnlab.measuring.in_numpy.work import laid_out
from dnnlab.notation import product

OPTIONS = st.composite(lambda draw, name: WITNESSES[name].draw(draw))
KINDS = [name for name in CATALOGUE if name != "Flatten"]
WINDOWED = ("Conv2d", "DepthwiseConv2d", "Conv1d", "ConvTranspose2d", "MaxPool2d", "AvgPool2d")
SEEDS = st.integers(0, 2**32)


def shapes(name: str) -> settings:
    return settings(max_examples=100 if name in WINDOWED else 30, deadline=None)


def from_lines(layer: Layer, given_: dict[str, Any]) -> dict[str, Any]:
    """Every tensor of the layer's lines, from arrays in the shapes a network sees."""
    program = layer.program
    shaped = {name: np.asarray(array, float).reshape(program.shape(name)) for name, array in given_.items()}
    inner: Any = layer.layer if isinstance(layer, Viewed) else layer
    width = inner.c // inner.a if inner.kind == "MultiHeadAttention" else getattr(inner, "d", 1)
    return vectorised.run(program, shaped, {**NUMBERS, "scale": width**-0.5})


def agrees(layer: Layer, given_: dict[str, Any], dtype: str, near: float) -> None:
    """The recipe and the lines give the same numbers, and leave the same behind."""
    ready = numpy_calls.call(layer, dtype)
    assert {key: array.shape for key, array in ready.tensors.items()} == {
        key: array.shape for key, array in given_.items()
    }
    for key, array in ready.tensors.items():
        array[...] = given_[key]
    expected = from_lines(layer, given_)
    (output,) = layer.program.having("output") or ("param",)
    found = ready.run()
    assert found.shape == layer.output_shape and found.dtype == TYPES[dtype]
    for key, array in {output: found, **{key: ready.tensors[key] for key in layer.program.having("state")}}.items():
        np.testing.assert_allclose(array, expected[key].reshape(array.shape), near, near, err_msg=f"{layer!r}: {key}")


@pytest.mark.parametrize("name", KINDS)
def test_the_result_is_that_of_the_lines(name: str) -> None:
    witness = WITNESSES[name]

    @shapes(name)
    @given(OPTIONS(name), SEEDS)
    def law(o: Values, seed: int) -> None:
        # the error function is good to 1.5e-7, and weights enlarge that
        agrees(CATALOGUE[name](**o), dict(arrays(witness, o, seed)), "fp64", 1e-5)

    law()


OTHERS = [
    MatrixProduct(b=3, t=4, d=5, u=6),
    GroupNorm(n=2, c=6, h=3, w=2, groups=3),
    GroupNorm(n=2, c=6, h=3, w=2, groups=2, scale=False),
    GroupNorm(n=2, c=4, h=3, w=2, groups=4, shift=False),
    dnnlab.BatchNorm2d(n=2, c=3, h=4, w=2, scale=False),
    dnnlab.BatchNorm2d(n=2, c=3, h=4, w=2, shift=False, training=False),
    dnnlab.LayerNorm(n=2, t=3, c=4, scale=False, shift=False),
    Mean(n=3, m=7),
    Sum(n=3, m=7),
    Pointwise(name="Mish", expression="{x} * tanh(log(1 + exp({x})))", shape=(3, 5)),
    Pointwise(name="Clamp", expression="min(max({x}, -0.5), 0.25) - {x}**3 / 2", shape=(3, 5)),
    Pointwise(name="Folded", expression="({x} + (1 - 0.25) * {x}) * ({x} - {x} / 3) + max({x}, 1 - {x}, 0.1)", m=20),
    dnnlab.Multiply().fit((2, 8, 3, 5), (2, 8, 1, 1)),
    dnnlab.Add().fit((3, 1, 5), (4, 1)),
    dnnlab.layers.Subtract(shape=(4, 5)),
    dnnlab.layers.Copy(source=(4, 6), target=(24,)),
    Viewed(layer=dnnlab.Linear(n=32, k=10, c=3, bias=True), sources=((2, 4, 4, 3),), target=(2, 4, 4, 10)),
    dnnlab.AvgPool2d(n=2, c=3, h=4, w=5, r=4, s=5),
    MaxPool2d(n=2, c=3, h=4, w=5, r=4, s=5),
    Conv2d(n=70, k=4, c=160, h=10, w=10, r=3, s=3),  # several blocks of samples, the last one smaller
    dnnlab.ConvTranspose2d(n=70, k=160, c=4, h=10, w=10, r=3, s=3, stride=2, groups=2, bias=True),
]


@pytest.mark.parametrize("layer", OTHERS, ids=lambda layer: layer.kind)
@pytest.mark.parametrize("dtype", TYPES)
def test_layers_outside_the_catalogue_and_special_shapes(layer: Layer, dtype: str) -> None:
    ready = numpy_calls.call(layer, dtype, seed=3)
    given_ = {key: np.array(array, float) for key, array in ready.tensors.items()}
    agrees(layer, given_, dtype, 1e-9 if dtype == "fp64" else 2e-4)


# -- what is counted is what NumPy does -------------------------------------------------------------------


class Seen(np.ndarray):
    """An array that tells a log of every call of NumPy in which it takes part."""

    log: Log

    def __array_finalize__(self, source: Any) -> None:
        if isinstance(source, Seen):
            self.log = source.log

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:  # type: ignore[override]
        self.log.note(function.__name__, [*inputs], out)
        plain_out = tuple(map(bare, out))
        return getattr(function, method)(*map(bare, inputs), out=plain_out, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        name = function.__name__
        if name == "clip":  # a function of Python; it ends in a ufunc, which is seen as well
            self.log.calls += 1
            return super().__array_function__(function, types, args, options)
        outs = {"copyto": args[:1], "take": args[3:4]}.get(name, (options.get("out"),))
        self.log.note(name, [arg for arg in args if not any(arg is out for out in outs)], outs)
        return function(*map(bare, args), **{key: bare(value) for key, value in options.items()})


def bare(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Seen) else value


def place(array: Any) -> tuple[Any, ...]:
    """Where an array lies: two views of the same numbers are one."""
    return array.__array_interface__["data"][0], array.shape, array.strides


class Log:
    """What NumPy was seen to do: calls, bytes, operations of matrix products, elements of functions."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.calls = self.moved = self.copied = self.shared = self.fetched = self.matrix = 0
        self.counts: Counter[str] = Counter()
        self.touched: set[int] = set()

    def make(self, shape: tuple[int, ...], dtype: Any, value: float) -> Any:
        self.made.append(np.full(shape, value, dtype))
        array = self.made[-1].view(Seen)
        array.log = self
        return array

    def note(self, name: str, inputs: list[Any], outs: Any) -> None:
        arrays = [*(each for each in inputs if isinstance(each, np.ndarray)), *outs]
        assert outs and all(isinstance(out, np.ndarray) for out in outs), f"{name} makes an array of its own"
        (out,) = outs
        sizes = {place(array): array.nbytes for array in arrays}
        if name == "take":  # of the table, only the rows that are looked up
            sizes = {"ids": inputs[1].nbytes, "rows": out.nbytes, "out": out.nbytes}  # type: ignore[dict-item]
        moved = sum(sizes.values()) + out.nbytes  # what is written crosses twice
        self.calls += 1
        self.moved += moved
        self.copied += moved * (name == "copyto")
        read = {place(each) for each in inputs if isinstance(each, np.ndarray)}
        self.fetched += 0 if place(out) in read else out.nbytes
        for array in arrays:
            self.touched |= {number for number, made in enumerate(self.made) if np.may_share_memory(bare(array), made)}
        if name == "matmul":
            self.shared += moved
            adding = bool((bare(inputs[1]) == 1).all())  # a product with ones is a sum
            self.matrix += 0 if adding else 2 * out.size * inputs[0].shape[-1]
            assert straight(inputs[0]) and straight(inputs[1]) and straight(out), "a matrix that BLAS cannot take"
        if name in ("exp", "log", "tanh"):
            self.counts["tanh" if name == "tanh" else "exp"] += out.size
        steps = [array.strides[-1] != array.itemsize for array in arrays if array.ndim > 1 and array.shape[-1] > 1]
        if name in ("copyto", "maximum", "add") and any(steps):
            self.counts["window"] += out.size


def straight(array: Any) -> bool:
    """Are the matrices in an array laid out as BLAS wants them: steps of one along one of the last two axes?"""
    *_, rows, columns = array.shape
    down, along = array.strides[-2:]
    return (
        1 in (rows, columns)
        or (along == array.itemsize and down >= columns * along)
        or (down == array.itemsize and along >= rows * down)
    )


def seen(layer: Layer, dtype: str = "fp32") -> Log:
    """What NumPy is seen to do when the recipe runs."""
    log = Log()
    desk, _ = laid_out(layer, dtype, log.make)
    for name, fill in desk.fills.items():
        fill(np.random.default_rng(0), bare(desk.given[name]))
    for step in desk.steps:
        step()
    return log


def counted(layer: Layer, dtype: str) -> None:
    log, work = seen(layer, dtype), numpy_calls.work(layer, dtype)
    what = f"{layer!r} in {dtype}"
    assert (work.calls, work.moved, work.matrix) == (log.calls, log.moved, log.matrix), what
    for kind in ("exp", "tanh", "window"):
        assert work.functions.get(kind, 0) == log.counts[kind], f"{what}: {kind}"
    used = [log.made[number].nbytes for number in sorted(log.touched)]
    if layer.kind not in WINDOWED:  # a filter may see nothing but border
        assert len(used) == len(log.made), f"{what}: an array is never used"
    held = sum(array.nbytes for array in log.made)
    assert numpy_calls.call(layer, dtype).held == held
    table = layer.parameters * TYPES[dtype].itemsize if "Embedding" in layer.kind else 0
    assert held - table <= work.working <= held, what
    assert work.matrix == 2 * layer.macs
    assert work.shared == log.shared
    if not work.copied:
        assert work.fetched == log.fetched, what


@pytest.mark.parametrize("name", KINDS)
def test_the_count_is_what_numpy_does(name: str) -> None:
    @shapes(name)
    @given(OPTIONS(name), st.sampled_from(sorted(TYPES)))
    def law(o: Values, dtype: str) -> None:
        counted(CATALOGUE[name](**o), dtype)

    law()


@pytest.mark.parametrize("layer", OTHERS, ids=lambda layer: layer.kind)
def test_the_count_of_other_layers_is_what_numpy_does(layer: Layer) -> None:
    counted(layer, "fp32")


@given(OPTIONS("Conv2d"))
def test_the_columns_are_what_a_convolution_copies(o: Values) -> None:
    layer = Conv2d(**o)
    work = numpy_calls.work(layer, "fp64")
    assert work.copied == seen(layer, "fp64").copied
    inside = layer.r == layer.s == 1 and layer.stride in (1, (1, 1)) and layer.output_shape[2:] == (layer.h, layer.w)
    assert not (inside and work.copied)
    # nothing is copied for the border: each element of the picture goes to as many columns as windows see it
    if not inside:
        filters = (layer.k, layer.c // layer.groups, layer.r, layer.s)
        ones = {"inp": np.ones(layer.input_shapes[0]), "weight": np.ones(filters)}
        met = from_lines(layer.at(bias=False), ones)["out"].sum() * layer.groups / layer.k
        assert work.copied == 3 * 8 * met


@pytest.mark.parametrize("name", [name for name in KINDS if "n" in CATALOGUE[name].dimensions])
def test_twice_the_batch_is_never_less_work(name: str) -> None:
    @shapes(name)
    @given(OPTIONS(name))
    def law(o: Values) -> None:
        if "n" not in o:  # given by its shape
            return
        one, two = (numpy_calls.work(CATALOGUE[name](**o | {"n": times * o["n"]}), "fp32") for times in (1, 2))
        assert two.matrix == 2 * one.matrix
        assert one.moved <= two.moved <= 2 * one.moved and one.copied <= two.copied <= 2 * one.copied
        assert one.working <= two.working and one.calls <= two.calls
        for kind, count in one.functions.items():
            assert count <= two.functions[kind]
            assert kind == "row" or two.functions[kind] <= 2 * count  # a pass in one go starts no rows

    law()


def test_columns_of_many_samples_share_a_buffer() -> None:
    small, large = (numpy_calls.work(Conv2d(n=n, k=8, c=64, h=32, w=32, r=3, s=3), "fp32") for n in (1, 64))
    assert large.copied == 64 * small.copied and large.matrix == 64 * small.matrix
    pictures = 4 * 64 * 32 * 32 * (64 + 8)
    assert large.working - pictures < 5 * 2**20


# -- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "dtype", "part"),
    [
        (dnnlab.ReLU(m=4), "bf16", "fp32 and fp64 only, not in bf16"),
        (View(source=(2, 3), target=(6,)), "fp32", "no NumPy recipe for View"),
        (Viewed(layer=View(source=(6,), target=(6,)), sources=((2, 3),), target=(3, 2)), "fp32", "no NumPy recipe"),
        (dnnlab.layers.Unknown(operation="lstm", sources=((5, 2),), target=(5, 2)), "fp32", "no NumPy recipe for lstm"),
        (dnnlab.layers.Given(role="input", shape=(2, 3)), "fp32", "no NumPy recipe for Input"),
    ],
)
def test_a_layer_without_a_recipe_says_why(layer: Layer, dtype: str, part: str) -> None:
    assert part in numpy_calls.supports(layer, dtype)
    for function in (numpy_calls.work, numpy_calls.call):
        with pytest.raises(DnnlabError, match=part):
            function(layer, dtype)


@pytest.mark.parametrize("function", [numpy_calls.work, numpy_calls.call])
def test_open_symbols_are_named(function: Callable[..., Any]) -> None:
    with pytest.raises(ExtentError, match="c, n are open; bind them with"):
        function(dnnlab.Linear(k=4), "fp32")


def test_what_is_given_is_finite_and_the_same_for_a_seed() -> None:
    layer = dnnlab.MultiHeadAttention(n=2, t=3, c=4, a=2, causal=True, dropout=True)
    one, same, other = (numpy_calls.call(layer, "fp32", seed).tensors for seed in (1, 1, 2))
    for name, array in one.items():
        assert np.array_equal(array, same[name])
        assert name == "mask" or (np.isfinite(array).all() and not np.array_equal(array, other[name]))


def test_a_phantom_takes_no_memory_and_cannot_be_written() -> None:
    array = phantom((10**6, 10**6), np.float32)
    part = array[::2, 5:].reshape(5 * 10**5, -1, 5).swapaxes(0, 1)
    assert part.size == product((5 * 10**5, 10**6 - 5)) and part.base is not None
    with pytest.raises(ValueError, match="read-only"):
        part[0, 0, 0] = 1
