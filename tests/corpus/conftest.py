"""Folders that corpora are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus.files import (
    LPD_5,
    LPD_17,
    melody,
    tune,
    write_midi,
    write_pianoroll,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six different songs, in MIDI and pianorolls, in folders."""
    top = tmp_path / "songs"
    for number in range(3):
        write_midi(top / "midi" / f"{number}.mid", [(0, 0, tune(number)), (1, 33, tune(100 + number))])
    write_midi(top / "midi" / "3.KAR", [(0, 48, tune(3))])
    write_pianoroll(top / "lpd" / "4.npz", LPD_5, melody(4))
    write_pianoroll(top / "lpd" / "5.npz", LPD_17, melody(5))
    return top
