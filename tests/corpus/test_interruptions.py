"""Preparing that is interrupted, resumed, or brought down by a file; workers that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from emsync.errors import CorpusError, OutputError
from emsync.training.corpus import chunks, song_files
from emsync.training.corpus import prepare as corpus
from emsync.training.corpus.prepare import prepare
from emsync.training.corpus.song_files import find
from emsync.training.corpus.songs import (
    MISSING_TRACKS,
    TOO_SHORT,
    UNREADABLE_MIDI,
)
from emsync.training.corpus.work_folder import survives, work_through
from emsync.workers import interrupts_held
from tests.corpus import mortal
from tests.corpus.files import (
    LPD_5,
    digests,
    melody,
    prepared,
    tune,
    write_midi,
    write_pianoroll,
)

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_broken_files_are_counted(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "empty.mid").write_bytes(b"")
    (folder / "text.mid").write_text("no midi")
    (folder / "cut.mid").write_bytes((folder / "midi" / "0.mid").read_bytes()[:100])
    write_midi(folder / "short.mid", [(0, 0, tune(1, 5))])
    write_pianoroll(folder / "few.npz", LPD_5[:3], melody(1))
    (folder / ".hidden.mid").write_text("never seen")
    (folder / "unknown.txt").write_text("never seen")
    (folder / "odd.mid").write_bytes((folder / "midi" / "0.mid").read_bytes())
    whole = song_files.read_song

    def failing(path: str, **options: Any) -> Any:
        if path.endswith("odd.mid"):
            raise ZeroDivisionError("an unheard-of\nmistake")
        return whole(path, **options)

    monkeypatch.setattr(chunks, "read_song", failing)
    report, _ = prepared(folder, tmp_path / "out")
    assert (report.files, report.read, report.kept) == (12, 6, 6)
    assert {reason: each.count for reason, each in report.refused.items()} == {
        MISSING_TRACKS: 1,
        TOO_SHORT: 1,
        "unexpected ZeroDivisionError": 1,
        UNREADABLE_MIDI: 3,
    }
    assert report.refused["unexpected ZeroDivisionError"].examples == (("songs/odd.mid", "an unheard-of mistake"),)
    line = "refused, missing tracks: 1 (such as songs/few.npz: few.npz has 3 tracks and lacks Bass, Strings; "
    assert line in report.summary()


def test_an_interrupted_run_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "FILES_PER_CHUNK", 2)
    whole = song_files.read_song
    seen: list[str] = []

    def stopping(path: str, **options: Any) -> Any:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(path)
        return whole(path, **options)

    monkeypatch.setattr(chunks, "read_song", stopping)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare([folder], out, workers=1)
    assert [each.name for each in out.iterdir()] == [".work"]
    assert [each.suffix for each in (out / ".work").iterdir()] == [".npz"]  # one whole chunk, nothing half-written
    first = list(seen)
    seen.clear()
    monkeypatch.setattr(chunks, "read_song", lambda path, **options: (seen.append(path), whole(path, **options))[1])
    prepare([folder], out, workers=1)
    assert len(first) == 3
    assert not set(seen) & set(first[:2])  # the finished chunk was not read again
    assert len(seen) == 4
    prepare([folder], tmp_path / "straight", workers=1)
    assert digests(out) == digests(tmp_path / "straight")


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [1, 2])
def test_a_run_cut_short_while_publishing_is_completed_by_the_same_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """Archives without their report are half a corpus; other people's archives are not replaced."""
    out, replace, done = tmp_path / "out", os.replace, []

    class Killed(BaseException):
        pass

    def dying(source: Path, target: Path) -> None:
        if Path(target).parent == out:
            done.append(target)
            if len(done) > killed_at:
                raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", dying)
        with pytest.raises(Killed):
            prepare([folder], out, workers=1)
    assert {each.name for each in out.iterdir()} == {".work", *(Path(each).name for each in done[:killed_at])}
    prepare([folder], out, workers=1)
    prepare([folder], tmp_path / "straight", workers=1)
    assert digests(out) == digests(tmp_path / "straight")
    assert not (out / ".work").exists()

    other = tmp_path / "other"
    other.mkdir()
    (other / "train-00.npz").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"train-00\.npz exists already; give --overwrite"):
        prepare([folder], other, workers=1)


def test_fresh_starts_over_and_changed_files_are_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    chunk = chunks.Chunk(tuple(find([folder])), 32, str(out / ".work"))
    name = chunk.cache.name
    write_midi(folder / "midi" / "0.mid", [(0, 0, tune(50, 160))])
    assert chunks.Chunk(tuple(find([folder])), 32, str(out / ".work")).cache.name != name
    (out / ".work").mkdir(parents=True)
    (out / ".work" / "left.over").write_text("x")
    monkeypatch.setattr(corpus, "publish", lambda *_: None)
    prepare([folder], out, workers=1, resume=True)
    assert (out / ".work" / "left.over").exists()
    prepare([folder], out, workers=1, resume=False)
    assert not (out / ".work" / "left.over").exists()


@pytest.mark.slow
def test_overwriting_leaves_no_older_archive(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared(folder, out, songs_per_archive=1)
    assert (out / "train-04.npz").exists()
    with pytest.raises(OutputError, match=r"report.json exists already; give --overwrite to replace the corpus"):
        prepare([folder], out, workers=1)
    report, _ = prepared(folder, out, overwrite=True, valid_share=0.0)
    assert sorted(each.name for each in out.iterdir()) == ["report.json", "train-00.npz"]
    assert report.kept == 6


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_worker_that_is_killed_ends_no_work(tmp_path: Path) -> None:
    names, lost = ["a", "once", "always", "b", "c"], list[tuple[str, str]]()
    items = [(str(tmp_path), name) for name in names]

    def work(items: list[tuple[str, str]], **more: Any) -> None:
        work_through(mortal.work, items, 2, False, "reading", "file", lambda item: 1, **more)

    work(items, lost=lost.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "log", "once"]
    assert lost == [(str(tmp_path), "always")]
    begun = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(name for name, _ in begun) == sorted([*names, "once", "always"])
    (tmp_path / "log").unlink()
    with pytest.raises(CorpusError, match=r"was killed twice while reading; if memory was short, give fewer --workers"):
        work(items[2:4])
    with pytest.raises(ZeroDivisionError, match="a mistake") as caught:
        work([(str(tmp_path), "wrong"), items[0]])
    assert "mortal.py" in caught.value.__notes__[0], "where it was raised"


def test_a_crashing_reader_is_found_out(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(work: Any, items: Any, *rest: Any) -> None:
        *_, lost = rest
        for item in items:
            lost(item)

    def alone(target: Any, chunk: Any) -> bool:
        if any(file.source.endswith("1.mid") for file in chunk.files):
            return False
        target(chunk)
        return True

    monkeypatch.setattr(chunks, "FILES_PER_CHUNK", 3)
    monkeypatch.setattr(chunks, "work_through", broken)
    monkeypatch.setattr(chunks, "survives", alone)
    report, _ = prepared(folder, tmp_path / "out")
    assert report.kept == 5
    assert {reason: each.examples for reason, each in report.refused.items()} == {
        chunks.CRASHED: (
            ("songs/midi/1.mid", "reading 1.mid ended the process; open and save it with another program"),
        )
    }


def test_survives() -> None:
    assert not survives(os._exit, 3)
    assert survives(os._exit, 0)


def ended(process: int) -> None:
    """Wait until a process has ended; fail if it does not."""
    for _ in range(200):
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.1)
    raise AssertionError("the worker lives on")


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """A parent that is killed leaves no process behind."""
    code = (
        "import os, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "import multiprocessing\n"
        "from emsync.workers import worker_begins\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, multiprocessing.get_context('fork'), worker_begins)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)  # it lives
        parent.kill()
    ended(worker)


@pytest.mark.slow
def test_workers_whose_parent_died_first_end_too(tmp_path: Path) -> None:
    """A worker may still be importing when its parent is killed; spawned, as by `emsync prepare`."""
    (tmp_path / "slow.py").write_text(
        "import os, sys, time\n"
        "from emsync.workers import worker_begins\n"
        "def begin():\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(1)\n"  # the parent is killed meanwhile
        "    worker_begins()\n"
    )
    code = (
        "import multiprocessing, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from slow import begin\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, multiprocessing.get_context('spawn'), begin)\n"
        "    pool.submit(int)\n"
        "    time.sleep(600)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])}
    command = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
        ended(worker)


def test_processes_started_with_interrupts_held_receive_none() -> None:
    """From its first moment on, before the worker can say so itself; and the parent receives one afterwards."""
    blocked: set[signal.Signals] = set()

    def begin() -> None:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool, interrupts_held():
            future = pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, [])
            signal.raise_signal(signal.SIGINT)
            blocked.update(future.result())

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert signal.SIGINT in blocked
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
