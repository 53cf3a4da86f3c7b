"""Worker processes that may be killed: every task is finished exactly once, or reported as lost.

    with Processes(work, begin) as crew:
        for task, result in finished(tasks, crew, 4):
            ...                         # a `Lost` if the worker was killed twice

Each worker is given one task at a time, so it is known which one it had when it ended. That task is done once more,
by a fresh worker, after the tasks that nobody has had yet. What killed a worker, lack of memory above all, then meets
fewer others. `Crew` is what a cluster offers in place of processes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from emsync.errors import EmsyncError

T = TypeVar("T")
R = TypeVar("R")
W = TypeVar("W")
Tasked = TypeVar("Tasked", contravariant=True)

#: How often a task is tried.
TRIES: Final = 2


@dataclass(frozen=True)
class Lost:
    """What there is instead of a result when a worker ended without giving one; `how` it ended, such as "SIGKILL"."""

    how: str


class Crew(Protocol[Tasked, R, W]):
    """Workers, each of which does one task at a time."""

    def start(self) -> W:
        """A new worker, which is ready for a task at once."""

    def give(self, worker: W, task: Tasked, again: bool) -> None:
        """Give a task to a worker that has none; `again` says that another worker was lost with it."""

    def wait(self) -> list[tuple[W, R | Lost]]:
        """Wait until at least one worker has finished its task, or was lost."""

    def stop(self, worker: W) -> None:
        """Let go a worker that has no task."""


def finished(
    tasks: Sequence[T], crew: Crew[T, R, W], n_workers: int, lost: Callable[[T, Lost], object] | None = None
) -> Iterator[tuple[T, R | Lost]]:
    """Yield every task once, with its result, in the order in which they are finished.

    A task whose worker was lost is done again by a fresh worker, and `lost` is called; lost again, its `Lost` is
    yielded. What a worker could not begin with is raised.
    """
    waiting = deque((task, False) for task in tasks)
    idle: list[W] = []
    busy: dict[W, tuple[T, bool]] = {}
    while waiting or busy:
        while waiting and len(busy) < n_workers:
            task, again = waiting.popleft()
            if again and idle:
                crew.stop(idle.pop())
            worker = crew.start() if again or not idle else idle.pop()
            busy[worker] = (task, again)
            crew.give(worker, task, again)
        while idle and not waiting:  # others may wait for their places
            crew.stop(idle.pop())
        for worker, result in crew.wait():
            task, again = busy.pop(worker)
            if not isinstance(result, Lost):
                idle.append(worker)
            elif not again:
                waiting.append((task, True))
                if lost is not None:
                    lost(task, result)
                continue
            yield task, result


@dataclass(eq=False)
class Worker:
    """A process and the pipe to it."""

    process: SpawnProcess
    pipe: Connection


class Processes(Generic[T, R]):
    """Workers that are processes of this machine.

    work: a function of a task and whether it is done again; it and its results are sent between processes.
    begin: called in each process before its first task; an `EmsyncError` that it raises is raised by `wait`.
    """

    def __init__(self, work: Callable[[T, bool], R], begin: Callable[[], object]) -> None:
        self._work, self._begin = work, begin
        self._workers: dict[Connection, Worker] = {}

    def start(self) -> Worker:
        """Start a process; Ctrl-C does not reach it."""
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of whatever is imported
        ours, theirs = context.Pipe()
        process = context.Process(target=_work_through, args=(theirs, self._work, self._begin))
        with interrupts_held():
            process.start()
        theirs.close()
        worker = Worker(process, ours)
        self._workers[ours] = worker
        return worker

    def give(self, worker: Worker, task: T, again: bool) -> None:
        """Send a task. A worker that has ended already is found by `wait`."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send((task, again))

    def wait(self) -> list[tuple[Worker, R | Lost]]:
        """Wait for results, and for the ends of processes."""
        found: list[tuple[Worker, R | Lost]] = []
        for pipe in multiprocessing.connection.wait(list(self._workers)):
            worker = self._workers[pipe]  # type: ignore[index]
            try:
                kind, result = worker.pipe.recv()
            except (EOFError, ConnectionResetError):  # the process has ended
                found.append((worker, Lost(self._end(worker))))
                continue
            if kind == "failed":
                raise result
            found.append((worker, result))
        return found

    def stop(self, worker: Worker) -> None:
        """Let a worker end, and wait for it."""
        self._end(worker)

    def _end(self, worker: Worker) -> str:
        """Close a worker's pipe, which ends it after its task, and return how it ended."""
        del self._workers[worker.pipe]
        worker.pipe.close()
        worker.process.join()
        code = worker.process.exitcode or 0
        with contextlib.suppress(ValueError):  # a signal that has no name here
            return signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"signal {-code}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in list(self._workers.values()):
            worker.pipe.close()
        for worker in self._workers.values():
            worker.process.join()
        self._workers.clear()


def _work_through(pipe: Connection, work: Callable[[Any, bool], Any], begin: Callable[[], object]) -> None:
    """What a worker process does: one task after the other, until the other end of its pipe is closed."""
    worker_begins()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            begin()
        except EmsyncError as error:
            pipe.send(("failed", error))
            return
        while True:
            task, again = pipe.recv()
            pipe.send(("done", work(task, again)))


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Delay Ctrl-C inside the block; processes that are started in it never receive it.

    Without this, a process that is still importing modules would print its own traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    multiprocessing.resource_tracker.ensure_running()  # started later, it would let interrupts through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def worker_begins() -> None:
    """Every worker calls this first.

    Ctrl-C reaches every process of the terminal; only the parent handles it. And a worker ends when its parent does,
    for whatever reason: otherwise it would wait for work forever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process once its parent is gone, even if that was before this call."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
