"""The manner of a style: its pieces as references with their moods, one of which a new piece is composed like."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emsync import checkpoint, midi, reference
from emsync.adapter_files import ABOUT
from emsync.errors import InputError, ModelError
from emsync.export import export
from emsync.manner import MOST_EXAMPLES, Example, drawn
from emsync.mood import MoodCurve
from emsync.recipe import Recipe
from emsync.record import Record
from emsync.session import Session
from emsync.soundtrack import again, for_cuts
from emsync.style import Style
from emsync.tempo_map import Bars, TempoMap
from emsync.training import styles
from emsync.training.styles import StyleOptions
from tests.models import LOCAL, model_folder
from tests.songs import score


def example(name: str, folder: Path, *, beat_s: float = 0.5, valence: float = 0.0, arousal: float = 0.0) -> Example:
    """A melody over a bass, in a tempo of its own."""
    rng = np.random.default_rng(round(1000 * beat_s))
    notes = [(3, 60 + int(p), beat_s * i / 2, beat_s * (i + 1) / 2) for i, p in enumerate(rng.integers(0, 20, 96))]
    notes += [(2, 40, 4 * beat_s * bar, 4 * beat_s * bar + beat_s) for bar in range(12)]
    path = folder / f"{name}.mid"
    bars_s = [4 * beat_s * bar for bar in range(12)]
    played = replace(score(notes), tempo=TempoMap.constant(60 / beat_s), bars=Bars(bars_s, [4] * 12, [4] * 12))
    midi.write(played, path)
    return Example(reference.read(path), valence, arousal)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model with its graph."""
    folder = model_folder(tmp_path_factory.mktemp("manner") / "model", LOCAL, bits=8)
    export(folder)
    return folder


@pytest.fixture
def style(base: Path, tmp_path: Path) -> Path:
    """A style that changes no weights, with a slow sad piece and a fast happy one."""
    name = "blocks.0.attention.query.weight"
    width = LOCAL.width
    factors = {name: np.zeros((2, width), np.float32)}, {name: np.zeros((width, 2), np.float32)}
    made = (
        example("slow", tmp_path, beat_s=1.0, valence=-0.6, arousal=-0.6),
        example("fast", tmp_path, beat_s=0.4, valence=0.6, arousal=0.6),
    )
    folder = tmp_path / "style"
    folder.mkdir()
    Style(checkpoint.weights_hash(base), *factors, examples=made).write(folder)
    return folder


def test_a_style_keeps_its_pieces(style: Path, tmp_path: Path) -> None:
    slow, fast = Style.read(style).examples
    assert slow == replace(example("slow", tmp_path, beat_s=1.0), valence=-0.6, arousal=-0.6)
    assert (fast.like.name, fast.valence, fast.arousal) == ("fast.mid", 0.6, 0.6)
    about = (style / ABOUT).read_text()
    (style / ABOUT).write_text(about.replace('"valence": -0.6', '"valence": -6'))
    with pytest.raises(ModelError, match=r"cannot be read \(a mood of -6, -0\.6 is not within -1 and 1\); train it"):
        Style.read(style)


def test_the_piece_with_the_nearest_mood_is_drawn_most_often(style: Path) -> None:
    examples = Style.read(style).examples
    assert drawn((), 0) is None
    by_mood = {
        mood: Counter(drawn(examples, seed, mood).name for seed in range(200))  # type: ignore[union-attr]
        for mood in ((0.5, 0.5), (-0.5, -0.5), (float("nan"), float("nan")), None)
    }
    assert by_mood[0.5, 0.5]["fast.mid"] > 190
    assert by_mood[-0.5, -0.5]["slow.mid"] > 190
    assert 60 < by_mood[None]["slow.mid"] < 140
    assert drawn(examples, 7, (0.1, 0.0)) == drawn(examples, 7, (0.1, 0.0))


def test_a_recipe_gets_a_piece_to_be_like_unless_it_says_otherwise(base: Path, style: Path, tmp_path: Path) -> None:
    session = Session.open(base).styled(str(style), 1.0)
    happy = MoodCurve.constant(0.9, 0.9)
    recipe = Recipe(seed=1, style=str(style))
    like = session.in_manner(recipe, happy).like
    assert like is not None
    assert like.name == "fast.mid"
    own = example("own", tmp_path).like
    for plain in (
        replace(recipe, style_manner="off"), replace(recipe, style_strength=0.0), replace(recipe, like=own)
    ):  # fmt: skip
        assert session.in_manner(plain, happy) == plain
    assert Session.open(base).in_manner(recipe, happy) == recipe


def test_the_record_of_a_piece_in_a_manner_gives_the_same_bytes(base: Path, style: Path, tmp_path: Path) -> None:
    session = Session.open(base)
    track = for_cuts(6.0, [3.0], Recipe(seed=4, style=str(style)), mood=MoodCurve.constant(-0.8, -0.8), session=session)
    assert track.recipe.like is not None
    assert track.recipe.like.name == "slow.mid"
    assert track.tempo_plan is not None
    assert track.tempo_plan.nominal_qpm == pytest.approx(60, rel=0.07)
    track.save(tmp_path / "a.mid")
    again(Record.read(tmp_path / "a.mid.json"), session=session).save(tmp_path / "b.mid")
    assert (tmp_path / "a.mid").read_bytes() == (tmp_path / "b.mid").read_bytes()


@pytest.mark.slow
def test_training_keeps_the_pieces_with_their_moods(base: Path, tmp_path: Path) -> None:
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    for name, beat_s in (("a", 0.4), ("b", 0.8)):
        example(name, pieces, beat_s=beat_s)
    midi.write(score([(1, 60 + i % 12, 0.5 * i, 0.5 * i + 0.4) for i in range(12)]), pieces / "short.mid")
    found = styles.read_pieces([pieces])
    style, _ = styles.train(base, found, StyleOptions(steps=1, batch=1, context=32))
    assert sorted(each.like.name for each in style.examples) == ["a.mid", "b.mid"]
    assert len({(each.valence, each.arousal) for each in style.examples}) == 2
    assert len(replace(found, paths=found.paths * MOST_EXAMPLES).examples()) == MOST_EXAMPLES


def test_a_mood_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a mood of 2, 0 is not within -1 and 1"):
        example("a", tmp_path, valence=2.0)
