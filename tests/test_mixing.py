"""Fitting a mixture on songs, measuring with it, and the command that does it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from click.testing import CliRunner

from emsync import vocabulary as v
from emsync.cli.fit_copying import command
from emsync.copying import N_STRENGTHS, Past
from emsync.errors import InputError, OutputError
from emsync.mixture import COPYING, Mixture
from emsync.recall import Recall
from emsync.training.crops import PREFIX
from emsync.training.dataset import Dataset
from emsync.training.evaluation.evaluate import bits, evaluate
from emsync.training.evaluation.mixing import fit_mixture
from emsync.training.evaluation.predictions import predictions, windows
from tests.models import ROTARY, archive_file, model_folder, random_model, toy_archive

HALF = Mixture((0.0, *[0.5] * (N_STRENGTHS - 1)))


def toy_data(n_songs: int = 2) -> Dataset:
    return Dataset.of(dict(toy_archive(n_songs).arrays))


def test_copies_are_those_of_the_piece_in_the_making() -> None:
    """The strength and the probability beside an event are what composing knows before it."""
    data, model = toy_data(1), random_model(ROTARY)
    parts = list(predictions(model, data, [0], batch=3, bf16=False))
    strength, copied = (np.concatenate([getattr(part, name) for part in parts]) for name in ("strength", "copied"))
    past = Past()
    ids = data.song(0)[0][1:]
    assert len(strength) == len(ids)
    for t, event in enumerate(ids.tolist()):
        assert strength[t] == past.strength
        assert copied[t] == pytest.approx(past.distribution()[event])
        past.append(event)
    assert (copied > 0.9).mean() > 0.3  # toy songs repeat themselves


def test_a_mixture_is_measured_as_it_is_defined() -> None:
    data, model = toy_data(), random_model(ROTARY)
    alone = bits(model, data, bf16=False)
    mixed = bits(model, data, bf16=False, mixture=HALF)
    assert mixed.alone_bits == pytest.approx(alone.bits.sum()) == pytest.approx(alone.alone_bits)
    assert (mixed.count == alone.count).all()
    expected = 0.0
    for part in predictions(model, data, [0, 1], bf16=False):
        p = np.exp(-part.nats)
        expected -= float(np.log2(np.where(part.strength > 0, 0.5 * p + 0.5 * part.copied, p)).sum())
    assert mixed.bits.sum() == pytest.approx(expected)
    assert mixed.bits_per_note < alone.bits_per_note
    # Told nothing, a model is measured without its past, too.
    unconditioned = bits(model, data, conditions=False, bf16=False, mixture=HALF)
    assert unconditioned.bits.sum() == pytest.approx(unconditioned.alone_bits)


def test_a_fitted_mixture_is_better_than_others(tmp_path: Path) -> None:
    archive, folder = archive_file(tmp_path / "songs.npz", 4), model_folder(tmp_path / "model")
    seen: list[tuple[int, int]] = []
    fitted = fit_mixture(archive, folder, skip=1, songs=2, bf16=False, progress=lambda *at: seen.append(at))
    assert seen[-1][0] == seen[-1][1] == fitted.mixture.about["events"]
    assert fitted.mixture.about["songs"] == 2
    assert fitted.mixed < fitted.alone
    data = toy_data(4)
    assert len(fitted.mixture.recall) == N_STRENGTHS
    found = bits(folder, data, songs=[1, 2], mood=True, bf16=False, mixture=fitted.mixture)
    assert found.bits_per_note == pytest.approx(fitted.mixed)
    assert found.alone_bits / found.notes == pytest.approx(fitted.alone)
    assert fitted.mixed < bits(folder, data, songs=[1, 2], mood=True, bf16=False, mixture=HALF).bits_per_note


def test_what_is_recalled_is_what_composing_recalls() -> None:
    """Windows and batches change nothing: a song read event by event recalls the same."""
    data, model = toy_data(), random_model(ROTARY)
    parts = list(predictions(model, data, [0, 1], batch=3, bf16=False, recall=True))
    recalled = np.concatenate([part.recalled for part in parts])
    ids = np.concatenate([data.song(song)[0][1:] for song in (0, 1)])
    begins = int(np.flatnonzero(ids == v.START)[1])
    past, states = Recall(), []
    hook = model.norm.register_forward_hook(lambda module, inputs, out: states.append(out))
    list(predictions(model, data, [0], batch=1, bf16=False))
    hook.remove()
    size = model.config.context - PREFIX
    at = [
        states[i][0, PREFIX + event - begin - 1].numpy()
        for i, (begin, first, end) in enumerate(windows(begins, size))
        for event in range(first, end)
    ]
    assert recalled[0] == recalled[begins] == 0
    for event in range(1, begins):
        assert past.distribution(at[event])[ids[event]] == pytest.approx(recalled[event], abs=1e-5)
        past.append(at[event], int(ids[event]))
    assert recalled[1 : begins - 1].max() > 0.5
    unasked = predictions(model, data, [0], bf16=False)
    assert (np.concatenate([part.recalled for part in unasked]) == 0).all()


def test_songs_must_be_left(tmp_path: Path) -> None:
    archive, folder = archive_file(tmp_path / "songs.npz", 2), model_folder(tmp_path / "model")
    with pytest.raises(InputError, match="holds 2 songs, and the first 12 are left out"):
        fit_mixture(archive, folder)
    with pytest.raises(InputError, match="give at least 1 song"):
        fit_mixture(archive, folder, songs=0)


@pytest.mark.slow
def test_the_command_writes_a_mixture_that_evaluating_uses(tmp_path: Path) -> None:
    archive, folder = archive_file(tmp_path / "songs.npz", 3), model_folder(tmp_path / "model")
    before = evaluate(archive, folder, n_songs=1, bf16=False)
    assert "without_copying_bits_per_note" not in before.to_dict()
    arguments = [str(archive), "--model", str(folder), "--skip", "1", "--songs", "2", "-q"]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert (done.exit_code, done.output) == (0, "")
    mixture = Mixture.read(folder)
    assert mixture is not None
    after = evaluate(archive, folder, n_songs=1, bf16=False)
    assert after.to_dict()["without_copying_bits_per_note"] == pytest.approx(before.conditioned.bits_per_note)
    assert after.conditioned.bits_per_note < before.conditioned.bits_per_note
    assert "not mixed with the song's repeats" in after.to_markdown()
    with pytest.raises(OutputError, match="exists already; give --overwrite"):
        CliRunner().invoke(command, arguments, catch_exceptions=False, standalone_mode=False)
    said = CliRunner().invoke(command, [*arguments[:-1], "--overwrite", "--adapt"], catch_exceptions=False)
    assert "bits per note alone" in said.output
    learning = Mixture.read(folder)
    assert learning is not None
    assert (mixture.adapts, learning.adapts) == (False, True)
    learned = evaluate(archive, folder, n_songs=1, bf16=False)
    assert learned.conditioned.bits_per_note < before.conditioned.bits_per_note
    assert learned.conditioned.bits_per_note != after.conditioned.bits_per_note
    assert json.loads((folder / COPYING).read_text())["about"]["archive"] == "songs.npz"
