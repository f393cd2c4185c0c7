"""Reading from the disk: a file is written, the system is asked to forget it, and it is read."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from shutil import disk_usage
from time import perf_counter
from typing import IO

from .turns import Probe

#: Bytes of the file, in parts; fewer where writing takes longer than this.
_PART, _PARTS, _LONGEST = 8 * 2**20, 8, 0.8
_SPARE = 2**30  # bytes that stay free


@dataclass(frozen=True)
class Disk:
    """A probe for reading, how the system's own copy of the file in memory was avoided (empty: it was not), and the
    bytes of the whole disk, used or not."""

    probe: Probe
    way: str
    capacity: int


@contextmanager
def reading(folder: Path) -> Iterator[Disk]:
    """A file in `folder` to read from; it is gone in the end. Raises OSError where none can be written."""
    usage = disk_usage(folder)
    if usage.free < _SPARE + _PART * _PARTS:
        raise OSError("less than 1 GB is free")
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile(dir=folder, prefix="dnnlab-", buffering=0))
        memory = stack.enter_context(mmap(-1, _PART))  # begins on a page, as reading past the cache asks for
        parts = _write(file)
        way, forget = _past_the_cache(file.fileno())
        view = stack.enter_context(memoryview(memory))
        places = _turns(parts)

        def read() -> None:
            at = next(places) * _PART
            forget(at)
            file.seek(at)
            done = 0
            while done < _PART:
                got = file.readinto(view[done:])
                if not got:
                    raise OSError("the file ended too early")
                done += got

        yield Disk(Probe("disk", "B/s", "reading from the disk", {"read": (float(_PART), read)}), way, usage.total)


def _write(file: IO[bytes]) -> int:
    """Parts written, none of them a repetition that a disk could store in less."""
    begin = perf_counter()
    for number in range(_PARTS):
        file.write(os.urandom(_PART))
        os.fsync(file.fileno())
        if perf_counter() - begin > _LONGEST:
            return number + 1
    return _PARTS


def _turns(parts: int) -> Iterator[int]:
    """One part after the other, without end."""
    while True:
        yield from range(parts)


def _past_the_cache(file: int) -> tuple[str, Callable[[int], None]]:
    """How the system reads around its copy in memory, and what to do before each read."""
    if sys.platform == "win32":
        return "", lambda at: None
    import fcntl

    if sys.platform == "darwin":
        fcntl.fcntl(file, fcntl.F_NOCACHE, 1)
        return "F_NOCACHE", lambda at: None
    if hasattr(os, "O_DIRECT"):
        plain = fcntl.fcntl(file, fcntl.F_GETFL)
        try:
            fcntl.fcntl(file, fcntl.F_SETFL, plain | os.O_DIRECT)
            with mmap(-1, _PART) as memory, memoryview(memory) as view:
                os.lseek(file, 0, os.SEEK_SET)
                if os.readv(file, [view]) > 0:
                    return "O_DIRECT", lambda at: None
        except OSError:  # a file system that lives in memory, or one over another
            pass
        fcntl.fcntl(file, fcntl.F_SETFL, plain)
    if hasattr(os, "posix_fadvise"):
        return "posix_fadvise", lambda at: os.posix_fadvise(file, at, _PART, os.POSIX_FADV_DONTNEED)
    return "", lambda at: None
