"""What a command needs and lacks is one sentence, before anything is read."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from emsync import extras
from emsync.cli.main import EXTRA_OF, main
from emsync.errors import MissingExtraError

#: The optional packages.
EVERY = {name for use in vars(extras).values() if isinstance(use, tuple) for name in use[1:]}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No optional package is installed; the current folder is empty."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in EVERY else find(name, *rest))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("train-emotions films -o out", "vision"),
        ("train-film-encoder pairs -o out", "vision"),
        ("train-affect films -o out", "vision,train"),
        ("train-affect films -o out --kind vlm --model m", "vision"),
        ("train-adapter songs -o out", "musicgen"),
        ("anchor film.mp4 --model m", "vision"),
        ("fit-critic songs.npz --model m", "train"),
        ("evaluate --archive songs.npz -o out", "train"),
        ("evaluate --archive songs.npz --score films --affect clip -o out", "train,audio,vision"),
        ("produce song.mid", "musicgen"),
        ("produce song.mid --model ace-step: --hits-mix -6", "acestep,audio"),
        ("compose film.mp4 --affect vlm:head --wav a.wav --lufs -16", "vision,audio"),
        ("compose film.mp4 --produce --hits-mix -6 --controls a.mid", "audio,interop,musicgen"),
        ("compose films more -o out --ray local --backend torch --mp4 out", "train,audio,cluster"),
    ],
)
def test_all_extras_are_named_at_once(bare: Path, command: str, extra: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert f" not installed; run: pip install 'emsync[{extra}]'\n" in said.err
    assert list(bare.iterdir()) == []


def test_packages_are_named_once_as_they_are_installed(bare: Path) -> None:
    sentence = "^torch, transformers and scikit-learn are not installed; run: pip install 'emsync.vision,train.'$"
    with pytest.raises(MissingExtraError, match=sentence):
        extras.need(extras.VISION, extras.TRAIN, extras.LEARN)
    with pytest.raises(MissingExtraError, match=r"^pyloudnorm is not installed; run: pip install 'emsync\[audio\]'$"):
        extras.need(extras.LOUDNESS)


def test_only_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else object())
    with pytest.raises(MissingExtraError, match=r"^scikit-learn is not installed; run: pip install 'emsync\[train\]'$"):
        extras.need(extras.VISION, extras.LEARN)
    extras.need(extras.VISION)
    extras.need()


def test_the_packages_are_optional_ones() -> None:
    assert EVERY <= set(EXTRA_OF) | {"ray"}
