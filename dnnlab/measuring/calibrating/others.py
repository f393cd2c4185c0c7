"""What other programs take of the processors while we measure. Linux tells it; elsewhere nobody seems to disturb."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Use:
    """Seconds of processor time up to a moment: those of `others`, and `total`, which counts idle ones too."""

    others: float
    total: float

    def missing(self, later: Use, wanted: float) -> float:
        """The share that others took from us up to a later moment, of the `wanted` seconds of processor time. What
        they do on processors that would have been idle takes nothing.

        >>> Use(0, 0).missing(Use(others=10, total=20), wanted=20), Use(0, 0).missing(Use(10, 20), wanted=10)
        (0.5, 0.0)
        """
        others, total = later.others - self.others, later.total - self.total
        return max(0.0, min(others, others + wanted - total)) / wanted if wanted > 0 else 0.0


def use(stat: Path = _STAT) -> Use:
    """Up to now."""
    try:
        first = stat.read_text(encoding="ascii").split("\n", 1)[0].split()
        ticks = [int(count) / os.sysconf("SC_CLK_TCK") for count in first[1:9]]
        idle, waits = ticks[3:5]
    except (OSError, ValueError, AttributeError):
        return Use(0.0, monotonic())
    own = os.times()
    return Use(sum(ticks) - idle - waits - own.user - own.system, sum(ticks))
