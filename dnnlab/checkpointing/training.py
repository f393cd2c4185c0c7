"""A real training step in NumPy under any checkpointing plan, with its memory measured.

`train_step` is what checkpointing really is: a schedule of five kinds of operation over three kinds of tensor. Read
the loop in `_execute`: outputs x, records xb (an output and what its backward pass reads) and gradients y come and go
as the plan says, so memory over time is that of the simulator. A forward that runs again computes what it computed
the first time, so the gradients are those of the plan that stores everything, bit for bit. Imported on demand:
`import dnnlab` does not need NumPy.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from ..errors import DnnlabError, quote
from ..networks import Network
from ..quantities import bytes_of, show
from ..tables import Column, Table
from ..vectorised import Array
from .chains import Chain
from .givens import Given, Loss, Tensors, parameters_of, read_array, read_given, read_loss
from .plans import Operation, Plan
from .simulator import simulate
from .stages import Record, Stage, adjoint, lines_chain, read_stages

__all__ = ["Moment", "TrainingStep", "measured_chain", "parameters_of", "train_step", "training_chain"]


@dataclass(frozen=True)
class Moment:
    """One operation of a step: bytes of the plan's tensors while it runs (`held`) and when it is done (`after`),
    the most that NumPy had `allocated` while it ran (None where nobody measured), and its seconds."""

    operation: Operation
    held: int
    after: int
    allocated: int | None
    seconds: float


@dataclass(frozen=True, eq=False)
class TrainingStep:
    """What a training step computed and what it took.

    `loss`; `gradients` and `state` (running statistics after the step) by layer and tensor; `input_gradient`;
    `trace`, a `Moment` for each operation.
    """

    loss: float
    gradients: Tensors = field(repr=False)
    input_gradient: Array = field(repr=False)
    state: Tensors = field(repr=False)
    trace: tuple[Moment, ...] = field(repr=False)

    @property
    def held_bytes(self) -> int:
        """The most bytes of inputs, outputs, records and gradients of activations at once: the plan's own peak."""
        return max(moment.held for moment in self.trace)

    @property
    def peak_bytes(self) -> int:
        """The most bytes NumPy had allocated at once, as `tracemalloc` saw them, the step's input counted.

        It is above `held_bytes` by the workspace of the fullest moment: padded copies, operands put in order for
        a matrix product, gradients of parameters before they are added up. Parameters and the arrays of their
        gradients, which no plan changes, are not in it. Raises `DnnlabError` if the step was not measured.
        """
        measured = [moment.allocated for moment in self.trace if moment.allocated is not None]
        if not measured:
            raise DnnlabError("this step was not measured; run it with measure=True, or ask for held_bytes")
        return max(measured)

    @property
    def forwards(self) -> int:
        """How many times a stage was run forward."""
        return sum(moment.operation.kind in ("Fc", "Fe") for moment in self.trace)

    @property
    def seconds(self) -> float:
        """Time of all operations, with measuring where it was measured."""
        return sum(moment.seconds for moment in self.trace)

    def sentence(self) -> str:
        """The verdict in words."""
        full = max(self.trace, key=lambda moment: moment.held)
        stages = sum(moment.operation.kind == "B" for moment in self.trace)
        text = (
            f"{self.forwards} forwards for {stages} stages; at the fullest moment, {full.operation}, the plan holds "
            f"{show(full.held, 'B')}"
        )
        if full.allocated is not None:
            text += f", and with its workspace NumPy had at most {show(self.peak_bytes, 'B')}"
        return text + "."

    def table(self) -> Table:
        """A row for each operation."""
        columns = (
            Column("operation", "operation"),
            Column("held", "held while it runs", unit="B"),
            Column("after", "held after it", unit="B"),
            Column("allocated", "allocated by NumPy", unit="B"),
            Column("seconds", "time", unit="s"),
        )
        rows = tuple((str(m.operation), m.held, m.after, m.allocated, m.seconds) for m in self.trace)
        return Table(columns, rows, title="Memory over time", note=self.sentence())

    def _repr_html_(self) -> str:
        return self.table().html()


def train_step(
    network: Network,
    plan: Plan,
    inputs: Any,
    parameters: Mapping[str, Mapping[str, Any]],
    target: Any = None,
    *,
    loss: str = "mse",
    stages: Sequence[Sequence[str]] | None = None,
    scalars: Mapping[str, float] | None = None,
    seed: int = 0,
    measure: bool = True,
) -> TrainingStep:
    """Run one training step of a chain of layers in NumPy as a plan says.

    `inputs` has the network's input shape, `parameters` is what `parameters_of` makes. The `loss` is "mse" (mean
    squared error against `target`, of the output's shape; zeros if it is not given) or "cross_entropy" (`target`
    holds the number of the right class for each sample). `stages` are the blocks of layer names that the plan
    speaks of; by default the network is cut wherever a single tensor passes, as `Chain.of` does. `scalars` overrides
    plain numbers such as `eps`, `seed` draws dropout masks, and `measure=False` leaves `tracemalloc` off, for timing.

    Raises `DnnlabError` where the plan is not one for these stages, or an array is missing, not finite or of the
    wrong shape.

    >>> import numpy as np
    >>> from dnnlab import Linear, Network, Tanh
    >>> layers = [Linear(k=64), Tanh()] * 4
    >>> net = Network.sequential("net", (32, 64), [(f"{i}", layer) for i, layer in enumerate(layers)])
    >>> x, start = np.ones((32, 64), np.float32), parameters_of(net)
    >>> store = train_step(net, Plan.nested(tuple(range(8))), x, start)
    >>> save = train_step(net, Plan.nested(((0, 1, 2), (3, 4, 5), 6, 7)), x, start)
    >>> store.forwards, save.forwards, store.held_bytes > save.held_bytes
    (8, 14, True)
    >>> all(np.array_equal(store.gradients[n][t], save.gradients[n][t]) for n in start for t in start[n])
    True
    """
    if not isinstance(plan, Plan):
        raise DnnlabError(f"a plan is made with Plan.read or Plan.nested, got {quote(plan)}")
    parts = read_stages(network, stages)
    simulate(Chain.equal(len(parts)), plan)  # refuses a plan that is not one for these stages
    given = read_given(network, parameters, scalars, seed)
    x = read_array("the input", inputs, network.input_shape, given.dtype).copy()  # memory of its own, to be counted
    ending = read_loss(loss, network.layers[-1].output_shape, target, given.dtype)
    for node in network.layers:
        adjoint(node.layer)  # derived before anything is measured
    return _execute(plan, parts, ending, x, given, measure)


def _execute(plan: Plan, stages: Sequence[Stage], loss: Loss, x: Array, given: Given, measure: bool) -> TrainingStep:
    """The schedule, operation by operation."""
    outputs: dict[int, Array] = {0: x}  # x_i
    records: dict[int, tuple[Array, Record]] = {}  # xb_i: the output of stage i-1, and what its backward pass reads
    slopes: dict[int, Array] = {}  # y_i, the gradient of x_i
    gradients, state = _zeros(stages, given), Tensors()
    value, trace = 0.0, []

    def result(i: int) -> Array:
        return records[i][0] if i in records else outputs[i]

    def held() -> int:
        kept = [array for output, record in records.values() for array in (output, *record.values())]
        return _bytes([*outputs.values(), *kept, *slopes.values()])

    with _allocations(x.nbytes if measure else None) as most:
        for operation in plan.operations:
            kind, i = operation.kind, len(stages) if operation.stage is None else operation.stage
            begin = perf_counter()
            if kind == "Fc":
                outputs[i + 1] = stages[i].forward(result(i), given, state)
            elif kind == "Fe":
                record = Record()
                records[i + 1] = stages[i].forward(result(i), given, state, record), record
            elif kind == "L":
                value, slopes[i] = loss(result(i))
            elif kind == "B":
                slopes[i] = stages[i].backward(records[i + 1][1], slopes[i + 1], given, gradients)
            seconds = perf_counter() - begin
            during = held()
            if kind == "D":
                del (records if i in records else outputs)[i]
            elif kind == "B":
                del records[i + 1], slopes[i + 1]
            trace.append(Moment(operation, during, held(), most(), seconds))
    return TrainingStep(value, gradients, slopes[0], state, tuple(trace))


def _zeros(stages: Sequence[Stage], given: Given) -> Tensors:
    """Where the gradients of the parameters are added up; made before the step, as no plan changes them."""
    learned = {node.name: node.layer.program.having("parameter") for stage in stages for node in stage.nodes}
    return {
        name: {t: np.zeros_like(own[t]) for t in learned[name]} for name, own in given.tensors.items() if learned[name]
    }


def _bytes(arrays: Sequence[Array]) -> int:
    """Bytes of the memory behind some arrays; what several of them share is counted once."""
    owners = {}
    for array in arrays:
        while isinstance(array.base, np.ndarray):
            array = array.base
        owners[id(array)] = array.nbytes
    return sum(owners.values())


@contextmanager
def _allocations(already: int | None) -> Iterator[Callable[[], int | None]]:
    """A function that gives the most bytes there were since it was last asked: those `already` there when the meter
    starts, and what was allocated since. With None nothing is measured."""
    if already is None:
        yield lambda: None
        return
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    start, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()

    def most() -> int:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        return peak - start + already

    try:
        yield most
    finally:
        if not running:
            tracemalloc.stop()


# -- the same step, predicted ---------------------------------------------------------------------------------


def training_chain(
    network: Network, stages: Sequence[Sequence[str]] | None = None, dtype: str = "fp32", loss: str = "mse"
) -> Chain:
    """The chain of a network's stages as its lines have it: times are operations, sizes bytes, no workspace.

    `simulate(training_chain(net), plan).peak` is what `train_step(net, plan, ...).held_bytes` will be.

    >>> from dnnlab import zoo
    >>> chain = training_chain(zoo.lenet5(batch=2))
    >>> chain.stages, chain.outputs[:3], chain.records[:3]
    (11, (8192, 37632, 37632), (37632, 37632, 9408))
    """
    parts = read_stages(network, stages)
    shape = network.layers[-1].output_shape
    target = np.zeros(shape[:1]) if loss == "cross_entropy" else None
    return lines_chain(parts, bytes_of(dtype), read_loss(loss, shape, target, np.dtype(np.float32)).ops)


def measured_chain(
    network: Network,
    inputs: Any,
    parameters: Mapping[str, Mapping[str, Any]],
    target: Any = None,
    *,
    loss: str = "mse",
    stages: Sequence[Sequence[str]] | None = None,
    scalars: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Chain:
    """The chain of a network's stages as this machine has it: times in seconds, sizes in bytes, and the workspace
    of each operation as temporary memory. Two steps measure it, in which each stage runs as `Fc`, `Fe` and `B`.

    `simulate(measured_chain(...), plan).peak` predicts `peak_bytes` of any plan, from above where stages keep more
    than their output (a forward that records has that in its record, one that does not in its workspace).
    """
    parts = read_stages(network, stages)
    plan = Plan.nested([[i] for i in range(len(parts))])  # every stage is run as Fc, as Fe and as B
    options: dict[str, Any] = {"loss": loss, "stages": stages, "scalars": scalars, "seed": seed}
    time = train_step(network, plan, inputs, parameters, target, **options, measure=False)
    space = train_step(network, plan, inputs, parameters, target, **options)  # second: what is cached is there
    workspace: dict[tuple[str, int | None], int] = {}
    seconds: dict[tuple[str, int | None], float] = {}
    for moment, timed in zip(space.trace, time.trace, strict=True):
        key = (moment.operation.kind[0], moment.operation.stage)  # Fc and Fe are one
        workspace[key] = max(workspace.get(key, 0), (moment.allocated or 0) - moment.held)
        seconds[key] = min(seconds.get(key, timed.seconds), timed.seconds)
    width = space.input_gradient.dtype.itemsize
    forward = [("F", i) for i in range(len(parts))]
    backward = [*(("B", i) for i in range(len(parts))), ("L", None)]
    return replace(
        lines_chain(parts, width, 0),
        forward=tuple(seconds[key] for key in forward),
        backward=tuple(seconds[key] for key in backward),
        forward_temp=tuple(workspace[key] for key in forward),
        backward_temp=tuple(workspace[key] for key in backward),
    )
