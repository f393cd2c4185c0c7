"""The vectorised run against the plain interpreter, on lines that nobody would write by hand."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab.errors import ExtentError, ShapeError
from dnnlab.interpreter import interpret
from dnnlab.layers import Conv2d, MaxPool2d
from dnnlab.loopnest import LoopNest
from dnnlab.program import Program
from dnnlab.vectorised import run

INDICES = "abcd"


@dataclass(frozen=True)
class Line:
    """A line with everything that is needed to run it."""

    nest: LoopNest
    tensors: dict[str, Any]
    scalars: dict[str, float]


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """Any line over small tensors: windows, diagonals, borders on all sides, lookups, updates in place."""
    shapes: dict[str, tuple[int, ...]] = {}
    mode = draw(st.sampled_from(["=", "+=", "+=", "max", "min"]))
    extents = {name: draw(st.integers(1, 4)) for name in INDICES}
    settings_of = {"stride": draw(st.integers(1, 3)), "pad": draw(st.integers(0, 3))}

    def subscript(names: str) -> str:
        kind = draw(st.sampled_from(["plain"] * 4 + ["window", "any", "number"]))
        if kind == "number":
            return str(draw(st.integers(0, 2)))
        one, two = draw(st.sampled_from(names)), draw(st.sampled_from(names))
        if kind == "plain":
            return one
        if kind == "window":
            return f"{one}*stride+{two}-pad"
        return f"{draw(st.integers(-2, 3))}*{one}+{draw(st.integers(0, 2))}*{two}+{draw(st.integers(-2, 4))}"

    def ref(name: str, names: str) -> str:
        """A reference to a tensor, of the rank it has already if it has one."""
        rank = len(shapes.setdefault(name, tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))))
        subs = [subscript(names) for _ in range(rank)]
        if draw(st.integers(0, 5)) == 0:
            shapes["ids"] = shapes.get("ids", tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))))
            inner = [subscript(names) for _ in shapes["ids"]]
            subs[draw(st.integers(0, rank - 1))] = f"ids[{','.join(inner)}]"
        return f"{name}[{','.join(subs)}]"

    target = ref("out", draw(st.sampled_from(["a", "ab", "abc", "abcd"])))
    # an assignment may use no index that its target does not have
    names = "".join(re.findall(r"\b[a-d]\b", target)) if mode == "=" else INDICES
    if not names:
        target, names = f"out[{','.join(['a', *['0'] * (len(shapes['out']) - 1)])}]", "a"
    sources = st.sampled_from(["first", "second", "third", *(["out"] if mode != "=" else ["out", "out"])])

    def read() -> str:
        name = draw(sources)
        return target if name == "out" and draw(st.booleans()) else ref(name, names)

    if mode in ("max", "min"):  # the border is infinite: no products, which could meet a zero
        shape = draw(st.sampled_from(["{}", "{} + {}", "tanh({})", "{} + 1"]))
    else:
        shape = draw(
            st.sampled_from(
                ["{}", "{} * {}", "{} * {}", "{} * {} * {}", "-{} * {} / 4", "number * {} * {}", "{}*({} - 1) + {}",
                 "max({}, 0, {})", "min({}, number)", "{}**3", "step({}) * {}", "equal({}, {}) + 2",
                 "exp(-abs({}))", "erf({}) / (1 + {}**2)", "sqrt(abs({})) - log(2 + abs({}))", "3", "number"]
            )
        )  # fmt: skip
    value = shape.format(*(read() for _ in range(shape.count("{}"))))
    text = {"=": f"{target} = {value}", "+=": f"{target} += {value}"}.get(mode, f"{target} = {mode}({target}, {value})")
    probe = LoopNest(text, shapes=shapes)
    known = {**extents, **settings_of}
    nest = LoopNest(text, shapes=shapes, **{name: known[name] for name in probe.statement.names if name in known})
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    tensors: dict[str, Any] = {
        name: rng.integers(-8, 9, shapes[name]) / 4.0 if name != "ids" else rng.integers(-1, 5, shapes["ids"])
        for name in nest.references
        if name != "out" or draw(st.booleans())
    }
    return Line(nest, tensors, {"number": 0.75})


@settings(max_examples=600)
@given(lines())
def test_a_line_runs_as_in_the_interpreter(line: Line) -> None:
    plain = interpret(line.nest, line.tensors, line.scalars).tensors
    before = {name: array.copy() for name, array in line.tensors.items()}
    fast = run(line.nest, line.tensors, line.scalars)
    assert set(fast) == set(plain)
    for name, array in fast.items():
        np.testing.assert_allclose(array, np.array(plain[name]), rtol=1e-12, atol=1e-12, err_msg=line.nest.text)
    for name, array in before.items():
        np.testing.assert_array_equal(line.tensors[name], array, err_msg="what is given is not changed")


@given(st.integers(0, 2**32), st.sampled_from([np.float16, np.float32, np.float64, np.int32]))
def test_numbers_keep_their_type(seed: int, kind: type) -> None:
    rng = np.random.default_rng(seed)
    lines = ["mid[n,k] += w[k,c] * x[n,c]", "out[n,k] = max(mid[n,k], 0) * 0.5 + erf(mid[n,k])"]
    given = {"w": rng.integers(-3, 4, (3, 4)).astype(kind), "x": rng.integers(-3, 4, (2, 4)).astype(kind)}
    result = run(Program.read(lines, {"x": "input", "out": "output"}, n=2, k=3, c=4), given)
    wanted = np.float64 if kind is np.int32 else kind
    assert {array.dtype for array in result.values()} == {np.dtype(wanted)}
    mid = given["x"].astype(float) @ given["w"].astype(float).T
    expected = np.maximum(mid, 0) / 2 + np.vectorize(math.erf)(mid)
    np.testing.assert_allclose(result["out"], expected, rtol=np.finfo(wanted).eps * 4)


@given(st.lists(st.floats(-40, 40) | st.floats(-1e-9, 1e-9), min_size=1, max_size=200))
def test_the_error_function_is_exact_to_the_last_digit_but_one(values: list[float]) -> None:
    result = run(LoopNest("out[i] = erf(x[i])", i=len(values)), {"x": values})["out"]
    exact = np.array([math.erf(value) for value in values])
    assert np.all(np.abs(result - exact) <= 4.5e-16 * np.abs(exact))


def test_not_a_number_stays_one() -> None:
    result = run(LoopNest("out[i] = erf(x[i])", i=3), {"x": [math.nan, math.inf, -math.inf]})["out"]
    np.testing.assert_array_equal(result, [math.nan, 1, -1])


def test_lines_share_tensors_and_a_maximum_starts_below_everything() -> None:
    softmax = [
        "top[n] = max(top[n], x[n,c])",
        "sum[n] += exp(x[n,c] - top[n])",
        "y[n,c] = exp(x[n,c] - top[n]) / sum[n]",
    ]
    program = Program.read(softmax, {"x": "input", "y": "output"}, n=2, c=3)
    x = np.array([[-800.0, -801, -803], [5, 5, 5]])
    result = run(program, {"x": x})
    np.testing.assert_allclose(result["y"].sum(axis=1), 1)
    np.testing.assert_array_equal(result["top"], [-800, 5])
    # a tensor that is given keeps what it holds
    np.testing.assert_array_equal(run(program, {"x": x, "top": np.array([-700.0, 2.0])})["top"], [-700, 5])


@pytest.mark.parametrize(
    "update", ["x[i+1] = x[i] + 1", "x[i] += x[i] * y[j]", "x[i] = x[4-i]", "x[y[i]] = x[i] + 1", "x[j+i] = y[j]"]
)
def test_an_order_of_passes_that_matters_is_kept(update: str) -> None:
    nest = LoopNest(update, shapes={"x": (5,), "y": (4,)}, i=3, **({"j": 4} if "j" in update else {}))
    given = {"x": np.arange(1.0, 6), "y": np.array([3, 0, 1, 2])}
    np.testing.assert_array_equal(run(nest, given)["x"], interpret(nest, given).tensors["x"])


def test_open_extents_are_refused() -> None:
    with pytest.raises(ExtentError, match="open extents"):
        run(LoopNest("out[n,k] += w[k,c] * x[n,c]", n=2), {})


def test_a_missing_number_is_named() -> None:
    with pytest.raises(ExtentError, match="needs a number for slope"):
        run(LoopNest("out[i] = slope * x[i]", i=2), {"x": [1, 2]})


def test_a_wrong_shape_names_both() -> None:
    with pytest.raises(ShapeError, match=r"'x' should have shape \(2, 3\).*\(3, 2\)"):
        run(LoopNest("out[n] += x[n,c]", n=2, c=3), {"x": np.zeros((3, 2))})


def test_no_window_is_copied_where_it_need_not_be() -> None:
    """A maximum over 49 overlapping windows takes a few tensors of memory, not 49."""
    pool = MaxPool2d(n=1, c=32, h=64, w=64, r=7, s=7, stride=1, padding=3)
    x = np.random.default_rng(0).standard_normal((1, 32, 64, 64))
    tracemalloc.start()
    run(pool.program, {"inp": x})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * x.nbytes


def test_a_real_convolution_agrees_with_shifted_products() -> None:
    conv = Conv2d(n=2, k=32, c=16, h=56, w=56, r=3, s=3, stride=2, padding=1)
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 16, 56, 56)), rng.standard_normal((32, 16, 3, 3))
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = sum(
        np.tensordot(weight[:, :, i, j], wide[:, :, i : i + 55 : 2, j : j + 55 : 2], (1, 1)).swapaxes(0, 1)
        for i in range(3)
        for j in range(3)
    )
    np.testing.assert_allclose(run(conv.program, {"inp": x, "weight": weight})["out"], expected, atol=1e-12)


def test_numpy_is_not_needed_to_derive() -> None:
    code = "import sys, dnnlab; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
