"""Workers of a Ray cluster (https://ray.io), which may run on many machines. Needs the extra `cluster`.

    with Cluster("10.0.0.1:6379", work, begin) as crew:
        for task, result in finished(tasks, crew, crew.n_cpus):
            ...

Each worker is an actor with one processor. It works in a process of its own, which may be killed; so may its machine.
Every machine needs emsync, and must see the same files under the same names.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from emsync.errors import EmsyncError, InputError, MissingExtraError
from emsync.workers import Lost

T = TypeVar("T")
R = TypeVar("R")

#: The address of a cluster of this machine's processors, which is started and ended with the run.
LOCAL: Final = "local"
#: How long a cluster may take to answer, in seconds.
ANSWERS_S: Final = 5.0
#: Results are small: the least memory that Ray takes for what workers share.
_STORE_BYTES: Final = 80 << 20


class Cluster(Generic[T, R]):
    """Workers that are actors of a Ray cluster.

    - address: "local" starts one here; else as `ray.init` takes it: "auto", HOST:PORT or ray://HOST:PORT.
    - work, begin: as for `workers.Processes`.
    - cpus: how many processors a local cluster has; None for all of the machine's.
    - n_cpus: how many the cluster has.

    Raises `MissingExtraError` without Ray, and `InputError` for a cluster that cannot be reached.
    """

    def __init__(
        self, address: str, work: Callable[[T, bool], R], begin: Callable[[], object], cpus: int | None = None
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
        try:
            import ray
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"{error.name} is not installed; run: pip install 'emsync[cluster]'") from None
        self._ray: Any = ray
        self._opened = not ray.is_initialized()
        if self._opened:
            _check_answers(address)
            local = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
            where = local if address == LOCAL else {"address": address}
            try:
                ray.init(**where, logging_level=logging.CRITICAL, log_to_driver=False)
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
                raise InputError(
                    f"no Ray cluster answers at {address} ({reason}); give another address, or local to start one here"
                ) from error
        self.n_cpus = max(int(ray.cluster_resources().get("CPU", 1)), 1)
        self._work, self._begin = work, begin
        self._actor = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Actor)
        self._running: dict[Any, Any] = {}  # what is being computed -> the actor that does it
        self._actors: set[Any] = set()
        self._quiet = contextlib.ExitStack()

    def start(self) -> Any:
        """Ask for an actor; it begins as soon as there is a processor for it."""
        actor = self._actor.remote(self._work, self._begin)
        self._actors.add(actor)
        return actor

    def give(self, worker: Any, task: T, again: bool) -> None:
        """Send a task."""
        self._running[worker.do.remote(task, again)] = worker

    def wait(self) -> list[tuple[Any, R | Lost]]:
        """Wait for a result, or for the end of an actor."""
        ready, _ = self._ray.wait(list(self._running))
        found: list[tuple[Any, R | Lost]] = []
        for future in ready:
            worker = self._running.pop(future)
            try:
                kind, result = self._ray.get(future)
            except self._ray.exceptions.RayError as error:
                self.stop(worker)
                found.append((worker, Lost(_how(error))))
                continue
            if kind == "failed":
                raise result
            found.append((worker, result))
        return found

    def stop(self, worker: Any) -> None:
        """End an actor."""
        self._actors.discard(worker)
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(worker)

    def __enter__(self) -> Self:
        self._quiet.enter_context(contextlib.redirect_stdout(_WithoutRay(sys.stdout)))  # type: ignore[type-var]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._quiet:
            for worker in list(self._actors):
                self.stop(worker)
            if self._opened:
                self._ray.shutdown()


class _WithoutRay:
    """A stream without what Ray prints by itself: a paragraph for each worker that is killed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Actor:
    """A worker process of the cluster."""

    def __init__(self, work: Callable[[Any, bool], Any], begin: Callable[[], object]) -> None:
        self._work, self._begin = work, begin
        self._begun = False

    def do(self, task: Any, again: bool) -> tuple[str, Any]:
        """Do a task; ("failed", error) where the worker cannot begin."""
        if not self._begun:
            try:
                self._begin()
            except EmsyncError as error:
                return "failed", error
            self._begun = True
        return "done", self._work(task, again)


def _check_answers(address: str) -> None:
    """Raise `InputError` if nothing answers at HOST:PORT; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS_S).close()
    except OSError as error:
        raise InputError(
            f"no Ray cluster answers at {address} ({error.strerror or error}); check the address and that it runs"
        ) from error


def _how(error: Exception) -> str:
    """Why a worker was lost, in a few words."""
    text = str(error)
    if "No module named 'emsync" in text:
        raise InputError("emsync is not installed on the cluster; install the same version on each machine") from error
    if "OutOfMemory" in type(error).__name__ or "memory monitor" in text:
        return "out of memory"
    cause = getattr(error, "cause", None)
    return f"{type(cause).__name__}: {cause}" if cause is not None else "its process or machine was lost"
