"""A GPU measured: as a `Device`, copies that overlap with work, training steps with and without checkpoints."""

from .device import GpuMeasurement, GpuMeasurements, gpu_measurements, record, this_gpu
from .overlap import overlapped_copies
from .step import CheckpointedStep, checkpointed_step

__all__ = [
    "CheckpointedStep", "GpuMeasurement", "GpuMeasurements", "checkpointed_step", "gpu_measurements",
    "overlapped_copies", "record", "this_gpu",
]  # fmt: skip
