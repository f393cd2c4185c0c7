"""Load and store on one channel, first come, first served: which of the two goes next."""

from __future__ import annotations

from .times import Time, Times


def shared_starts(times: tuple[Times, ...], buffers: int, out_buffers: int) -> tuple[Times, ...]:
    """When load, compute and store start each tile (seconds) where one channel serves load and store.

    A load asks for the channel once the one before has ended and a buffer is free; a store once the one before has
    ended and its tile is computed. The channel never stands still while one of them asks. Whoever asked first
    gets it, and the store where both asked at the same moment: it empties a buffer, a load fills one.

    At each turn at least one request is known. Where only one is, the other waits for what this one does, so that
    it cannot come first.

    >>> shared_starts(((2, 2), (1, 1), (2, 2)), 2, 2)
    ((0, 2), (2, 4), (4, 6))
    """
    load, compute, store = times
    tiles = len(load)
    starts: tuple[list[Time], ...] = ([], [], [])
    loaded: list[Time] = []
    computed: list[Time] = []
    stored: list[Time] = []
    free: Time = 0
    while len(stored) < tiles:
        i, j = len(loaded), len(stored)
        # Computations that are settled by what has crossed the channel so far.
        for m in range(len(computed), min(i, j + out_buffers)):
            start = max(loaded[m], computed[m - 1] if m else 0, stored[m - out_buffers] if m >= out_buffers else 0)
            starts[1].append(start)
            computed.append(start + compute[m])
        wants_load: Time | None = None
        if i < tiles and i - buffers < len(computed):
            wants_load = max(loaded[-1] if i else 0, computed[i - buffers] if i >= buffers else 0)
        wants_store = max(computed[j], stored[-1] if j else 0) if j < len(computed) else None
        if wants_load is None or (wants_store is not None and wants_store <= wants_load):
            assert wants_store is not None  # or neither could go on, which the recurrence rules out
            request, start_of, ends, time = wants_store, starts[2], stored, store[j]
        else:
            request, start_of, ends, time = wants_load, starts[0], loaded, load[i]
        start = max(free, request)
        start_of.append(start)
        free = start + time
        ends.append(free)
    return tuple(map(tuple, starts))
