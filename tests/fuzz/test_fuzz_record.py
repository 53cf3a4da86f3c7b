"""Fuzzing of the readers of what emsync itself wrote: records of pieces, evaluations, logs of training."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from emsync import cutlist
from emsync.mood import MoodCurve
from emsync.recipe import Recipe
from emsync.record import Record, to_dict
from emsync.training.evaluation.report_page import headline, read_evaluation
from emsync.training.run_folder import read_about, read_log
from tests.fuzz.harness import Target, fuzz
from tests.fuzz.test_fuzz_corpus import in_file


def records() -> list[bytes]:
    model = {"folder": None, "weights_sha256": "0" * 64, "copying_sha256": None, "vocabulary": "x"}
    mood = MoodCurve([0.0, 4.0], [0.5, -0.5], [0.25, 0.0])
    found = {
        "cuts_s": [2.5, 6.25], "boundaries_s": [2.5], "hits": [{"cut_s": 2.5, "chord_s": None}],
        "notes": 7, "events": 30,
    }  # fmt: skip
    made = [
        to_dict(
            recipe=recipe, model=model, backend="onnx", video="film.mp4", duration_s=9.0, frame_rate=Fraction(25),
            mood=curve, mood_source="builtin", found=found,
        )
        for recipe, curve in ((Recipe(), mood), (replace(Recipe(seed=5, tempo_qpm=96.0), hits="exact"), None))
    ]  # fmt: skip
    return [json.dumps(each).encode() for each in made]


def read_record(path: Path) -> object:
    record = Record.read(path)
    cutlist.check(record.cuts_s, record.duration_s)
    return record.recipe.to_dict()


def evaluations() -> list[bytes]:
    values = {
        "format": 1, "bits_per_note": 3.5, "songs": 2, "notes": 90, "archive": {"name": "valid.npz"},
        "model": {"folder": "small", "weights_hash": "0" * 64}, "parts": {},
    }  # fmt: skip
    return [json.dumps(values).encode()]


def read_other(path: Path) -> object:
    return headline(read_evaluation(path))


def logs() -> list[bytes]:
    reports = [{"step": step, "loss": 3.5, "tokens": 10, "valid": {}} for step in (1, 2, 2, 3)]
    return [b"".join(json.dumps(report).encode() + b"\n" for report in reports)]


def states() -> list[bytes]:
    return [b'{"progress": {"step": 3}, "preset": {"model": {}, "train": {}}, "bf16": {}}']


TARGETS = [
    Target("record", records, in_file("song.mid.json", read_record)),
    Target("evaluation", evaluations, in_file("evaluation.json", read_other)),
    Target("log", logs, in_file("log.jsonl", lambda path: read_log(path.parent))),
    Target("state", states, in_file("run.json", lambda path: read_about(path.parent))),
]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_fuzz(target: Target) -> None:
    counts = fuzz(target, inputs=150)
    assert counts.read > 2
