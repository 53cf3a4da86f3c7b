"""Every reader of a file looks at its kind and size first: a pipe is not waited for, a huge file takes no memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync.checkpoint import read_config, weights_header
from emsync.cutlist import read_csv
from emsync.errors import EmsyncError
from emsync.midi import read as read_midi
from emsync.mixture import COPYING, Mixture, file_hash
from emsync.mood import read_curve
from emsync.record import Record
from emsync.training.corpus.archive import read_archive
from emsync.training.corpus.song_files import read_song
from emsync.training.dataset import Dataset
from emsync.training.evaluation.landing import film_list
from emsync.training.evaluation.report_page import read_evaluation
from emsync.training.mood.labelled_films import LABELS, read_folder
from emsync.training.presets import Preset
from emsync.training.run_folder import read_about, read_log
from emsync.weight_parts import INDEX, join_parts

#: What a file is called, and what reads it: given the file's path.
READERS: dict[str, Callable[[Path], Any]] = {
    "song.mid": read_midi,
    "cuts.csv": read_csv,
    "mood.csv": read_curve,
    "mood.json": read_curve,
    "song.mid.json": Record.read,
    "scene.json": film_list,
    "evaluation.json": read_evaluation,
    "songs.npz": read_archive,
    "roll.npz": read_song,
    "preset.toml": Preset.read,
    "config.json": lambda path: read_config(path.parent),
    "model.safetensors": weights_header,
    COPYING: lambda path: Mixture.read(path.parent),
    INDEX: lambda path: join_parts(path.parent, path.parent / "joined"),
    "log.jsonl": lambda path: read_log(path.parent),
    "run.json": lambda path: read_about(path.parent),
    "dataset.json": lambda path: Dataset.open(path.parent),
    LABELS: lambda path: read_folder(path.parent),
}


@pytest.mark.parametrize("name", READERS)
def test_a_huge_file_is_refused_unread(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for other in ("film.mp4", "vocabulary.json", "model.safetensors"):
        (tmp_path / other).touch()
    with path.open("wb") as file:
        file.truncate(8 << 40)  # sparse: takes no room
    with pytest.raises(EmsyncError, match=r", over \d+|cannot be read"):
        READERS[name](path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    (tmp_path / "film.mp4").touch()
    if name == COPYING:  # a model without one is a model
        assert READERS[name](path) is None
        assert file_hash(tmp_path) is None
        return
    with pytest.raises(EmsyncError):
        READERS[name](path)


@pytest.mark.parametrize("name", [COPYING, "evaluation.json", "song.mid.json", "run.json", "config.json", INDEX])
@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5_000, "[]", "null", '"a"', "\x00", '{"format": 1}'])
def test_json_of_any_kind_is_refused_in_a_sentence(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EmsyncError, match=r"^.{20,}$"):
        READERS[name](path)


def test_a_log_s_other_lines_are_passed_over(tmp_path: Path) -> None:
    lines = ['{"step": 1}', "[" * 100_000, "7", '{"step": "x"}', "{", '{"step": 2}']
    (tmp_path / "log.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert [report["step"] for report in read_log(tmp_path)] == [1, 2]


def test_an_array_that_claims_more_than_its_file_holds_takes_no_memory(tmp_path: Path) -> None:
    for name in ("offsets", "mood", "mood_offsets"):
        np.save(tmp_path / f"{name}.npy", np.zeros(4, dtype=np.int64))
    data = (tmp_path / "offsets.npy").read_bytes()
    assert b"(4,), }          " in data
    (tmp_path / "offsets.npy").write_bytes(data.replace(b"(4,), }          ", b"(4000000000000,)}"[:17]))
    (tmp_path / "dataset.json").write_text(json.dumps({"format": 1}), encoding="utf-8")
    with pytest.raises(EmsyncError, match="is not a tokenized corpus"):
        Dataset.open(tmp_path)
