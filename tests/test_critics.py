"""Fitting a critic of takes, and the command that does it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from click.testing import CliRunner

from emsync import vocabulary as v
from emsync.candidates import TAKE_S
from emsync.cli.fit_critic import command
from emsync.critic import CRITIC, FIGURES, Critic, Opinion
from emsync.decoder import open_decoder
from emsync.errors import InputError, OutputError
from emsync.training.dataset import Dataset
from emsync.training.evaluation import critics, landing
from tests.models import ROTARY, archive_file, model_folder, random_model, toy_archive

#: A context that holds some takes of a toy song.
LONG = replace(ROTARY, context=400)


def songs(n: int, *, shuffled: bool = False) -> Dataset:
    """Toy songs; shuffled: each with its notes at the pitches of others, which no real song would have."""
    data = Dataset.of(dict(toy_archive(n).arrays))
    if not shuffled:
        return data
    ids = np.array(data.ids, dtype=np.int64)
    strings = (v.FAMILY[ids] == v.STRINGS) & (v.KIND[ids] == v.K_ON)
    ids[strings] = v.ON_BASE[v.STRINGS] + np.random.default_rng(0).integers(40, 100, strings.sum())
    return Dataset(ids.astype(np.uint16), data.velocities, data.offsets, data.mood, data.mood_offsets, data.about)


def test_stretches_are_whole_bars_of_about_a_take() -> None:
    found = critics.stretches(np.arange(0, 41, 2.0))
    assert found == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 20)]
    assert critics.stretches([0.0, 30.0, 33.0]) == [(0, 1)], "a long bar is a stretch, a short rest of the song is none"
    assert critics.stretches([0.0]) == critics.stretches([]) == []
    assert TAKE_S == 8.0


@pytest.mark.slow
def test_a_critic_hears_what_it_was_fitted_on() -> None:
    model = random_model(LONG)
    sides = [critics.passages_of(model, songs(10, shuffled=shuffled)) for shuffled in (False, True)]
    assert [side.figures.shape[1] for side in sides] == [len(FIGURES)] * 2
    assert all(np.isfinite(side.states).all() for side in sides)
    assert not np.isnan(sides[0].mood).any(), "songs of an archive have moods"
    fitted = critics.fit(*sides, weights="w", about={"songs": 10})
    assert fitted.auc > 0.9
    assert fitted.critic.about["auc_held_out"][0] == pytest.approx(fitted.auc, abs=1e-4)
    assert fitted.critic.weights == "w"
    worth = [
        [fitted.critic.realness(Opinion(f, s)) for f, s in zip(side.figures, side.states, strict=True)]
        for side in sides
    ]
    assert np.mean(worth[0]) > np.mean(worth[1]) + 1
    # The same songs on both sides cannot be told apart.
    assert critics.fit(sides[0], sides[0], weights="", about={}).auc < 0.7


def test_pieces_are_composed_as_users_get_them(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "LENGTH_S", (4.0, 5.0))
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / CRITIC).write_text("{}")  # of other weights, say: it is to be fitted again
    made = critics.compose_songs(folder, 3, seed=5)
    assert len(made) == 3
    for i in range(3):
        ids, velocities = made.song(i)
        assert ids[0] == v.MORE
        assert ids[-1] == v.END
        assert len(velocities) == len(ids)
        assert 3.5 < v.SHIFT_STEPS[ids].sum() * v.STEP_S < 5.3  # in nominal time, whose sixteenths are whole steps


@pytest.mark.slow
def test_the_command_writes_a_critic_that_composing_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(critics, "compose_songs", lambda *_, **__: songs(10, shuffled=True))
    archive, folder = archive_file(tmp_path / "songs.npz", 12), model_folder(tmp_path / "model", LONG)
    arguments = [str(archive), "--model", str(folder), "--songs", "10", "--pieces", "10"]
    done = CliRunner().invoke(command, [*arguments, "-q"], catch_exceptions=False)
    assert (done.exit_code, done.output) == (0, "")
    critic = open_decoder(folder, backend="torch").critic
    assert isinstance(critic, Critic)
    assert critic.about["archive"] == "songs.npz"
    assert critic.states.shape == (2, 16)
    with pytest.raises(OutputError, match="exists already; give --overwrite"):
        CliRunner().invoke(command, arguments, catch_exceptions=False, standalone_mode=False)
    said = CliRunner().invoke(command, [*arguments, "--overwrite"], catch_exceptions=False)
    assert "area under the curve of" in said.output
    assert json.loads((folder / CRITIC).read_text())["about"]["songs"] == 10


def test_too_few_songs_or_pieces(tmp_path: Path) -> None:
    archive, folder = archive_file(tmp_path / "songs.npz", 3), model_folder(tmp_path / "model")
    with pytest.raises(InputError, match="a critic of 5 songs and 60 pieces cannot be fitted; give 10 of each"):
        critics.fit_critic(archive, folder, songs=5)
    with pytest.raises(InputError, match=r"songs\.npz has 3 songs of three families; give 10 or more"):
        critics.fit_critic(archive, folder)
