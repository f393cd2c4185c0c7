"""The same call on many items: over processes of this machine, or over a Dask cluster. The results are the same.

What is worked on came from outside, so each process has a limit on its memory and on the time for an item. One that
hangs or dies takes nothing with it: a new process takes its place, and in place of the result stands what happened.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DnnlabError, quote

SECONDS = 60.0  # for an item
STARTING = 120.0  # for a process to begin; a busy machine reads SymPy slowly
WAITING = 10.0  # for a scheduler to answer
MEMORY = 2 * 2**30  # bytes of a process, where the system can limit them
#: The folder of dnnlab comes first only where Python would not find it: nothing there may stand before Python's own.
_SERVE = (
    "import sys; h = sys.argv[1]; h in sys.path or sys.path.insert(0, h); "
    "from dnnlab.classroom.workers import serve; serve()"
)

Progress = Callable[[int], None]
#: `spread(function, items, progress)` gives the results in the order of the items.
Spread = Callable[[Callable[[Any], Any], Iterable[Any], Progress], list[Any]]


@dataclass(frozen=True)
class Lost:
    """What stands in place of a result: the reason why there is none."""

    reason: str


def quiet(done: int) -> None:
    """No progress."""


class Worker:
    """A process that calls functions; it starts with the first call, and anew after one that it did not survive."""

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self.seconds, self.memory = seconds, memory
        self.process: subprocess.Popen[bytes] | None = None

    def call(self, function: Callable[[Any], Any], item: Any) -> Any:
        """`function(item)`, or `Lost`."""
        if self.process is None:
            self.process = self._started()
            if isinstance(self._asked(self.memory, STARTING), Lost):
                raise DnnlabError("no process could be started that finds dnnlab; is it installed for this Python?")
        return self._asked((function, item), self.seconds)

    def _started(self) -> subprocess.Popen[bytes]:
        # -P: a module that lies in the folder where the command was given, maybe among what was handed in, is none of
        # ours. The fixed seed: no order may depend on which process did the work.
        environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
        command = [sys.executable, "-P", "-W", "ignore", "-c", _SERVE, str(Path(__file__).resolve().parents[2])]
        pipes: dict[str, int] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, env=environment, **pipes)  # type: ignore[call-overload]

    def _asked(self, message: Any, seconds: float) -> Any:
        process = self.process
        assert process is not None and process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            pickle.dump(message, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            if late.is_set():
                return Lost(f"was given up after {seconds:g} seconds")
            self.close()
            return Lost("ended the process that read it: it needs too much memory, or is made to do so")
        finally:
            timer.cancel()
            if late.is_set():
                self.close()  # also where the result came at the last moment

    def close(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            process.wait()


def serve() -> None:
    """What a worker does: read a function and an item from stdin, write the result to stdout, until nothing comes."""
    asked, told = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever should print cannot spoil a result
    _limit(pickle.load(asked))
    found: Any = None
    while True:
        pickle.dump(found, told)
        told.flush()
        try:
            function, item = pickle.load(asked)
        except EOFError:
            return
        try:
            found = function(item)
            pickle.dumps(found)  # too deep for it, or too much
        except MemoryError:
            found = Lost("needs too much memory")
        except Exception as error:  # whatever it is, it belongs to this item alone
            found = Lost(f"failed with {type(error).__name__}")


def _limit(memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError, ValueError):  # a system that limits it already, or not at all
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


@contextlib.contextmanager
def local(jobs: int = 1, seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[Spread]:
    """Spread over `jobs` processes of this machine. Items are taken from their iterator as processes become free.

    >>> with local(2) as spread:
    ...     spread(abs, range(-3, 2))
    [3, 2, 1, 0, 1]
    """
    if jobs < 1:
        raise DnnlabError(f"the number of processes is at least 1, not {jobs}")
    workers = [Worker(seconds, memory) for _ in range(jobs)]

    def spread(function: Callable[[Any], Any], items: Iterable[Any], progress: Progress = quiet) -> list[Any]:
        numbered, lock = enumerate(items), threading.Lock()
        results: dict[int, Any] = {}
        failed: list[BaseException] = []

        def work(worker: Worker) -> None:
            try:
                while not failed:
                    with lock:
                        place, item = next(numbered, (-1, None))
                    if place < 0:
                        return
                    results[place] = worker.call(function, item)
            except BaseException as error:  # such as items that cannot be made: raised below, where it was called
                failed.append(error)

        threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in workers]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.1)
                    progress(len(results))
            progress(len(results))
        except BaseException as error:  # Ctrl-C
            failed.append(error)
        if failed:
            raise failed[0]
        return [results[place] for place in range(len(results))]

    try:
        yield spread
    finally:
        for worker in workers:
            worker.close()


@contextlib.contextmanager
def cluster(address: str, seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[Spread]:
    """Spread over a Dask cluster that runs already, such as "tcp://10.0.0.1:8786".

    Each of its workers has dnnlab installed, and starts a limited process of its own for the work. Raises DnnlabError
    where the extra `cluster` is missing, nobody answers, or dnnlab is missing there.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise DnnlabError("a Dask cluster needs the extra 'cluster': pip install 'dnnlab[cluster]'") from None
    try:
        client = Client(address, timeout=WAITING, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        told = " ".join(f"no Dask scheduler answers at {quote(address)}: {error or type(error).__name__}".split())
        raise DnnlabError(f"{told}; expected an address such as tcp://10.0.0.1:8786") from None

    def spread(function: Callable[[Any], Any], items: Iterable[Any], progress: Progress = quiet) -> list[Any]:
        every = list(items)
        parts = min(len(every), 2 * crew)  # a process starts for each; more would balance better, and start longer
        shares = [every[part::parts] for part in range(parts)]
        jobs = [client.submit(_share, function, share, seconds, memory, pure=False) for share in shares]
        done = 0
        results: list[Any] = [None] * len(every)
        try:
            for job in as_completed(jobs, loop=client.loop):
                done += len(job.result())
                progress(done)
        except ImportError as error:
            raise DnnlabError(f"the workers of the cluster lack {error.name}; install dnnlab there too") from None
        for part, job in enumerate(jobs):
            results[part::parts] = job.result()
        return results

    with client:
        crew = sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
        if not crew:
            raise DnnlabError(f"the Dask scheduler at {quote(address)} has no workers; start some first")
        yield spread


def _share(function: Callable[[Any], Any], items: list[Any], seconds: float, memory: int) -> list[Any]:
    """What one worker of a cluster does."""
    with local(1, seconds, memory) as spread:
        return spread(function, items, quiet)
