"""Programs: dependencies through several lines, roles, backward passes, refusals."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab import SGD, Conv2d, FeedForward, Linear, LoopNest, MaxPool2d, Program, Softmax
from dnnlab.errors import DnnlabError, ReadError, ShapeError
from dnnlab.interpreter import interpret


def fill(shape, start=1.0):
    """Nested lists of distinct numbers."""
    counter = itertools.count()

    def build(dims):
        return [build(dims[1:]) for _ in range(dims[0])] if dims else start + 0.37 * next(counter) % 1.7

    return build(list(shape))


def flat(nested):
    return [x for part in nested for x in flat(part)] if isinstance(nested, list) else [nested]


def poison(nested, region, at=()):
    """The tensor with everything outside a region replaced by a number that would be noticed."""
    if not isinstance(nested, list):
        inside = all(start <= i < stop for i, (start, stop) in zip(at, region, strict=True))
        return nested if inside else 1e9
    return [poison(part, region, (*at, i)) for i, part in enumerate(nested)]


def pick(nested, region):
    if not region:
        return nested
    (start, stop), *rest = region
    return [pick(part, rest) for part in nested[start:stop]]


LAYERS = [
    Conv2d(n=2, k=3, c=2, h=6, w=5, r=3, s=2, stride=(2, 1), bias=True),
    MaxPool2d(n=1, c=2, h=6, w=6, r=3, s=3, stride=2, padding=1),
    Softmax(n=4, c=5),
    Linear(n=3, k=4, c=5, bias=True),
    FeedForward(n=1, t=3, c=2, m=4, bias=True),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.kind)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_needs_is_enough(layer, data):
    """What lies outside the needed parts cannot change the region of the output."""
    program = layer.program
    region = []
    for size in program.shape("out"):
        start = data.draw(st.integers(0, size - 1))
        region.append((start, data.draw(st.integers(start + 1, size))))
    tensors = {name: fill(program.shape(name)) for name in program.having("input", "parameter")}
    needs = program.needs(region)
    assert set(needs) == set(tensors)
    clipped = {name: poison(tensor, needs[name]) for name, tensor in tensors.items()}
    whole = interpret(program, tensors).tensors["out"]
    part = interpret(program, clipped).tensors["out"]
    assert flat(pick(part, region)) == pytest.approx(flat(pick(whole, region)))


@pytest.mark.parametrize("layer", LAYERS[:4], ids=lambda layer: layer.kind)
def test_needs_is_no_more_than_one_output_needs(layer):
    """For a single output element, each end of a needed interval is really touched."""
    program = layer.program
    region = [(size // 2, size // 2 + 1) for size in program.shape("out")]
    tensors = {name: fill(program.shape(name)) for name in program.having("input", "parameter")}
    before = flat(pick(interpret(program, tensors).tensors["out"], region))
    for name, part in program.needs(region).items():
        for axis, (start, stop) in enumerate(part):
            for smaller in ((start + 1, stop), (start, stop - 1)):
                shrunk = [*part[:axis], smaller, *part[axis + 1 :]]
                changed = interpret(program, {**tensors, name: poison(tensors[name], shrunk)}).tensors["out"]
                assert flat(pick(changed, region)) != pytest.approx(before), (name, axis)


def test_a_region_of_another_rank_is_refused():
    with pytest.raises(ShapeError, match="2 axes"):
        Linear(n=3, k=4, c=5).needs((0, 1))


def test_roles_name_tensors_of_the_lines():
    with pytest.raises(ReadError, match=r"no line has the tensor 'weight'; the lines have out, inp"):
        Program.read("out[i] = inp[i]", {"inp": "input", "weight": "parameter", "out": "output"})


def test_an_update_has_no_backward_pass():
    with pytest.raises(DnnlabError, match="an update has no backward pass"):
        SGD().backward()


def test_backward_of_backward_lines_count_as_macs():
    """2x the forward pass is a result: both adjoint lines run over the same nest."""
    conv = Conv2d()
    assert conv.backward().ops == 2 * conv.ops
    assert conv.backward().macs == 2 * conv.macs
    assert conv.backward(input_gradient=False).ops == conv.ops


def test_statements_are_the_definition():
    assert LoopNest(Linear().statements[0]).ops == Linear().ops
