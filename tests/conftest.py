"""What every test shares: Hypothesis without a clock, plots without a screen, no error logged unseen, a tiny model."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["MPLBACKEND"] = "Agg"
os.environ.pop("EMSYNC_DEBUG", None)
# Otherwise every process that a test starts would compile all modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# What is imported and collected stays to the end; the garbage collector need not look at it again and again.
gc.disable()
# A shell starts what runs in its background with interrupts ignored; tests of interrupts would then wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a slow machine must not fail a right answer. In CI the same examples every time, and nothing kept.
# EMSYNC_TESTS=thorough tries many more.
settings.register_profile("default", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", deadline=None, max_examples=60, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("EMSYNC_TESTS") or ("ci" if os.environ.get("CI") else "default"))


def pytest_collection_finish() -> None:
    """Let the garbage collector work from now on, on what the tests make."""
    gc.freeze()
    gc.enable()


class _Errors(logging.Handler):
    """Keeps every record of level ERROR and above."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture(autouse=True)
def no_logged_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test during which a library logged an error; a test that expects one is marked `logs_errors`."""
    handler = _Errors()
    root = logging.getLogger()
    root.addHandler(handler)
    yield
    root.removeHandler(handler)
    if handler.records and request.node.get_closest_marker("logs_errors") is None:
        lines = "; ".join(f"{record.name}: {record.getMessage()}" for record in handler.records)
        pytest.fail(f"errors were logged: {lines}", pytrace=False)


# Made once a process: a test that would change one of these takes a copy.


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model that runs without torch, and knows mood."""
    from tests.fakes import exported_model

    return exported_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def model_without_mood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Likewise, trained without mood."""
    from tests.fakes import exported_model

    return exported_model(tmp_path_factory.mktemp("models") / "without-mood", knows_mood=False)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine seconds with one cut."""
    from emsync import demo_film
    from tests.fakes import DEMO_S

    path = tmp_path_factory.mktemp("films") / "film.mp4"
    demo_film.make(path, duration_s=DEMO_S, size=(64, 36), fps=12)
    return path


@pytest.fixture(scope="session")
def music_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random MusicGen-melody."""
    pytest.importorskip("transformers")
    from tests.music_models import tiny_musicgen

    return tiny_musicgen(tmp_path_factory.mktemp("models") / "musicgen")
