"""The step of training at every batch, held against the step derived anew at that batch."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab import SGD, Adam, BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, Momentum, Network, ReLU, zoo
from dnnlab.batches import Steps, steps
from dnnlab.epoch import epoch
from dnnlab.errors import DnnlabError, ExtentError
from dnnlab.layers.optimizers import Optimizer
from dnnlab.zoo import ZOO

SMALL = Network.sequential(
    "small", (1, 3, 8, 8), [Conv2d(k=4, r=3, s=3), BatchNorm2d(), ReLU(), MaxPool2d(r=2, s=2), Flatten(), Linear(k=10)]
)


@lru_cache(maxsize=2)
def small(input_gradient: bool) -> Steps:
    return steps(SMALL, input_gradient=input_gradient)


@pytest.mark.parametrize("name", list(ZOO))
def test_the_networks_of_the_zoo(name: str) -> None:
    every = steps(zoo.network(name))
    for batch in (1, 2, 7, 1024):
        assert every.at(batch) == epoch(zoo.network(name, batch=batch))


@given(st.integers(1, 10**6), st.booleans(), st.sampled_from((SGD(), Momentum(), Adam())))
def test_any_batch(batch: int, input_gradient: bool, rule: Optimizer) -> None:
    derived = epoch(SMALL.at_batch(batch), optimizer=rule, input_gradient=input_gradient)
    assert small(input_gradient).using(rule).at(batch) == derived


@given(st.integers(1, 300), st.integers(1, 64), st.booleans())
@settings(max_examples=50)
def test_any_epoch(samples: int, batch: int, drop_last: bool) -> None:
    batch = min(batch, samples)
    whole = small(False).epoch(samples, batch, drop_last)
    assert whole == epoch(SMALL.at_batch(batch), samples, drop_last=drop_last)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: steps(Linear()), DnnlabError, "expected a network"),  # type: ignore[arg-type]
        (lambda: small(False).at(0), ExtentError, "batch"),
        (lambda: small(False).epoch(0, 4), ExtentError, "samples"),
        (lambda: small(False).epoch(3, 4, drop_last=True), ExtentError, "do not fill one batch"),
        (lambda: small(False).at("n"), ExtentError, "batch must be a number"),  # type: ignore[arg-type]
    ],
)
def test_bad_input(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
