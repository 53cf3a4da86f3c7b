"""From a length and cuts to a Score, files and a record from which the same bytes come again."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest

from emsync import checkpoint, midi, soundtrack
from emsync import vocabulary as v
from emsync.composer import beat_of
from emsync.decoder import open_decoder
from emsync.errors import InputError, ModelError, OutputError
from emsync.hits import measure
from emsync.mood import MoodCurve
from emsync.mood_source import Mood, MoodSource, mean_mood
from emsync.recipe import Recipe
from emsync.record import Record, model_record
from emsync.soundtrack import Session, Soundtrack
from tests.fakes import Fake, Feeling

DURATION_S = 16.0
CUTS_S = (0.0, 4.0, 8.504, 12.28, 13.0)
NAMES = ["Drums", "Piano", "Guitar", "Bass", "Strings"]


#: Pieces made so far: many tests look at the same one.
KEPT: dict[str, Soundtrack] = {}


def composed(recipe: Recipe | None = None, cuts_s: Any = CUTS_S, duration_s: float = DURATION_S) -> Soundtrack:
    """A piece of the fake, made once a process; a test of composing again calls `soundtrack.compose` itself."""
    key = repr((recipe or Recipe(), cuts_s, duration_s))
    if key not in KEPT:
        KEPT[key] = soundtrack.compose(Fake(), duration_s, cuts_s, recipe)
    return KEPT[key]


def model_folder(folder: Path, weights: bytes = b"weights") -> Path:
    """What a model folder is as far as a record knows."""
    folder.mkdir(exist_ok=True)
    config = {"format": checkpoint.FORMAT, "model": {}, "vocabulary": v.HASH}
    (folder / checkpoint.CONFIG).write_text(json.dumps(config))
    (folder / checkpoint.VOCABULARY).write_text(json.dumps({"events": v.NAMES}))
    (folder / checkpoint.WEIGHTS).write_bytes(weights)
    return folder


def session_of(model: Path) -> Session:
    return Session(Fake(), model_record(model))


def saved(track: Soundtrack, model: Path) -> Soundtrack:
    """As if composed for a film with the model in this folder."""
    return replace(track, session=session_of(model), frame_rate=Fraction(24000, 1001), video="film.mp4")


def record_of(track: Soundtrack, model: Path, mood_source: str | None = None) -> dict[str, Any]:
    if mood_source is not None and track.mood is not None:
        track = replace(track, mood=Mood(track.mood.curve, mood_source, "as given"))
    return saved(track, model).record()


# ---- the score -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hits", ["bend", "exact", "free"])
def test_a_soundtrack_is_what_was_asked_for(hits: Any) -> None:
    for seed in range(3):
        track = composed(Recipe(seed=seed, hits=hits))
        score = track.score
        assert [i.name for i in score.instruments] == NAMES
        assert [i.is_drum for i in score.instruments] == [True, False, False, False, False]
        assert [(m.time_s, m.text) for m in score.markers] == [
            (0.0, "Cut 1 00:00:00:00"),
            (4.0, "Cut 2 00:00:04:00"),
            (8.504, "Cut 3 00:00:08:13"),
            (12.28, "Cut 4 00:00:12:07"),
            (13.0, "Cut 5 00:00:13:00"),
        ]
        assert track.cuts_s.tolist() == list(CUTS_S)
        assert track.boundaries_s.tolist() == [4.0, 8.504, 13.0]
        assert track.hits == tuple(measure(score, track.boundaries_s))
        # Nothing is past the end.
        assert score.duration_s == DURATION_S
        assert len(score) > 20
        assert score.end_s.max() <= DURATION_S
        assert score.bars.start_s.max() < DURATION_S
        assert score.tempo.times_s.max() < DURATION_S
        assert track.n_events > len(score)


@pytest.mark.parametrize("hits", ["bend", "exact"])
def test_chords_sound_on_the_cuts(hits: Any) -> None:
    tracks = [composed(Recipe(seed=seed, hits=hits)) for seed in range(6)]
    assert sum(len(track.hits) for track in tracks) == 18
    assert sum(track.n_within_frame for track in tracks) >= 16
    assert all(track.n_within_frame <= track.n_within_second <= 3 for track in tracks)
    if hits == "bend":
        errors = [hit.error_s for track in tracks for hit in track.hits if hit.error_s is not None]
        assert np.abs(errors).max() < 1e-9


@pytest.mark.slow
def test_finishing_accents_the_chords_on_cuts_and_follows_arousal() -> None:
    def lift(finish: Any, seed: int) -> float:
        track = composed(Recipe(seed=seed, finish=finish))
        assert all(hit.chord_s is not None for hit in track.hits)
        (hit,) = [h for h in track.hits if h.cut_s == 8.504]
        here = np.abs(track.score.start_s - float(hit.chord_s or math.nan)) < 2e-3
        return float(track.score.velocity[here].mean() - track.score.velocity[~here].mean())

    assert np.mean([lift("on", seed) - lift("off", seed) for seed in range(6)]) > 8
    loud, soft = (moody(MoodCurve.constant(arousal=a), Recipe(seed=3)).score.velocity.mean() for a in (0.9, -0.9))
    assert loud > soft + 16


def test_a_record_from_before_finishing_has_none(tmp_path: Path) -> None:
    record = record_of(composed(), model_folder(tmp_path / "model"))
    del record["settings"]["finish"]
    old = tmp_path / "old.mid.json"
    old.write_text(json.dumps(record))
    assert Record.read(old).recipe.finish == "off"


def test_bars_are_whole_on_their_grid() -> None:
    for hits in ("bend", "exact"):
        score = composed(Recipe(hits=hits)).score  # type: ignore[arg-type]
        places = score.tempo.quarters_at(score.bars.start_s)
        assert np.diff(places) == pytest.approx(score.bars.quarters[:-1], abs=1e-3)


def test_the_tempo_is_planned_for_the_film() -> None:
    for seed in range(3):
        track = composed(Recipe(seed=seed))
        plan, score = track.tempo_plan, track.score
        assert plan is not None
        assert plan.met.all()
        assert not len(track.missed_s)
        assert plan.largest_jump <= 0.03 + 1e-9
        assert np.abs(score.tempo.qpm / plan.mean_qpm - 1).max() <= 0.06 + 1e-9
        assert np.abs(score.tempo.qpm[1:] / score.tempo.qpm[:-1] - 1).max() < 0.01, "ramps, no jumps"
        assert set(score.bars.numerator.tolist()) == {4}
        # The cuts are beats of the file's own tempo map.
        beats = score.tempo.quarters_at(track.boundaries_s)
        assert beats == pytest.approx(plan.hit_beats, abs=1e-6)
        np.testing.assert_allclose(
            midi.from_bytes(midi.to_bytes(score)).tempo.quarters_at(track.boundaries_s), beats, atol=2e-3
        )
    fixed = composed(Recipe(tempo_qpm=100.0, max_bend=5.0)).tempo_plan
    assert fixed is not None
    assert fixed.mean_qpm == pytest.approx(100.0)


def test_cuts_out_of_reach_are_missed_and_recorded(tmp_path: Path) -> None:
    track = composed(Recipe(tempo_qpm=120.0, t_diff_s=2.0), [4.0, 8.25, 12.0])
    assert track.missed_s.tolist() == [8.25]
    assert len(track.hits) == 3
    assert [hit.error_s for hit in track.hits if hit.cut_s != 8.25] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert record_of(track, model_folder(tmp_path / "model"))["missed_s"] == [8.25]


def test_cuts_that_must_be_met_come_before_those_that_may() -> None:
    cuts_s, recipe = [4.0, 8.0, 8.5], Recipe(tempo_qpm=120.0, t_diff_s=0.5)
    for weights, missed in ((("", "must", "may"), [8.5]), (("", "may", "must"), [8.0])):
        track = soundtrack.compose(Fake(), 16.0, cuts_s, recipe, weights=weights)  # type: ignore[arg-type]
        assert track.missed_s.tolist() == missed


def test_metre_changes_put_cuts_on_downbeats() -> None:
    track = composed(Recipe(metre_changes=True), [4.0, 8.504, 12.9])
    assert np.abs(track.score.bars.start_s[:, None] - track.boundaries_s).min(axis=0).max() < 1e-9
    assert set(track.score.bars.numerator.tolist()) <= {2, 3, 4}
    assert track.n_within_frame == 3


def test_without_a_plan_the_nearest_beat_is_carried_onto_each_cut() -> None:
    track = composed(Recipe(seed=3, tempo_plan="off"))
    assert track.tempo_plan is None
    assert track.n_within_frame == 3
    drawn = Recipe(seed=3).tempo()
    assert drawn is not None
    snapped = 60 / (beat_of(drawn) * v.STEP_S)
    assert np.abs(track.score.tempo.qpm / snapped - 1).max() > 0.06
    assert len(track.score.tempo) <= 6


def test_the_frame_rate_is_the_markers() -> None:
    track = soundtrack.compose(Fake(), 8.0, [2.0, 3.5], frame_rate=Fraction(30000, 1001))
    assert [m.text for m in track.score.markers] == ["Cut 1 00:00:02:00", "Cut 2 00:00:03:15"]


def test_recipe_and_seed_matter() -> None:
    default = midi.to_bytes(composed().score)
    assert midi.to_bytes(soundtrack.compose(Fake(), DURATION_S, CUTS_S).score) == default
    for other in (
        Recipe(seed=1), Recipe(temperature=1.2), Recipe(top_p=0.5),
        Recipe(by_kind={"ON": (0.7, 0.9)}), Recipe(hits="exact"), Recipe(t_diff_s=0.5),
    ):  # fmt: skip
        assert midi.to_bytes(composed(other).score) != default, other


@pytest.mark.slow
def test_no_cuts_and_cuts_side_by_side() -> None:
    assert composed(cuts_s=[]).hits == ()
    # Nearer than two can be met: the chord they share is on one of them.
    crowd = [3.0, 3.2, 3.4, 6.0, 6.9, 7.8, 9.0, 9.008, 12.0]
    for hits in ("bend", "exact", "free"):
        for seed in range(2):
            track = composed(Recipe(seed=seed, t_diff_s=0.0, hits=hits), crowd)  # type: ignore[arg-type]
            assert len(track.hits) == len(track.score.markers) == len(crowd)


def test_the_shortest_film_has_music() -> None:
    track = composed(duration_s=1.0, cuts_s=[0.5])
    assert track.score.duration_s == 1.0
    assert len(track.score) > 0
    assert midi.from_bytes(midi.to_bytes(track.score)).duration_s == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("duration_s", [0.0, 0.99, -5.0, float("nan"), float("inf"), 3 * 3600 + 1])
def test_a_film_too_short_or_too_long_is_refused(duration_s: float) -> None:
    with pytest.raises(InputError, match=rf"a film of {duration_s:g} s is not between 1 s and 10800 s; cut it"):
        composed(duration_s=duration_s)


@pytest.mark.parametrize(
    ("cuts_s", "message"),
    [
        ([5.0, 4.0], "cut 2: cut at 4 s comes after one at 5 s; sort the list"),
        ([-1.0], "cut at -1 s is before the start"),
        ([99.0], r"cut at 99 s is past the video's end \(16.0 s\); were the cuts given in frames"),
        (["a"], "the cuts are not numbers"),
        ([float("nan")], "nan is no time"),
    ],
)
def test_bad_cuts_are_refused(cuts_s: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        composed(cuts_s=cuts_s)


# ---- mood ----------------------------------------------------------------------------------------------------------

#: From gloom to joy within four seconds of the film, given from 2 s to 6 s.
TURN = MoodCurve([2.0, 6.0], [-0.8, 0.8], [-0.5, 0.5])


def moody(mood: MoodCurve | None, recipe: Recipe | None = None, decoder: Fake | None = None) -> Soundtrack:
    return soundtrack.compose(decoder or Feeling(), 8.0, [4.0], recipe, mood=mood)


def test_a_mood_is_given_at_the_cursor_and_its_mean_to_the_piece() -> None:
    decoder = Feeling()
    track = moody(TURN, Recipe(mood_strength=1.0, mood_feedback=0.0), decoder)
    assert track.mood is not None
    assert track.mood.curve == TURN
    assert track.tempo_plan is not None
    nominal_s = float(track.tempo_plan.to_nominal(8.0)) - np.array([lanes[0, 3] for _, _, lanes in decoder.inputs])
    clock_s = track.tempo_plan.to_film(nominal_s)
    assert np.abs(clock_s - nominal_s).max() > 0.05
    for lane, end in ((1, 0.8), (2, 0.5)):
        levels = np.array([lanes[0, lane] for _, _, lanes in decoder.inputs])
        np.testing.assert_allclose(levels, end * np.clip((clock_s - 4) / 2, -1, 1), atol=2e-3)
    assert (clock_s < 2).any()
    assert (clock_s > 6).any()
    for *_, mood in decoder.prefills:
        np.testing.assert_allclose(mood, [[0.0, 0.0]], atol=1e-6)


def test_the_mean_is_over_the_whole_film() -> None:
    """A mood given for its first two seconds is held for the other six."""
    early = MoodCurve([0.0, 2.0], [1.0, -1.0], [math.nan, math.nan])
    valence, arousal = mean_mood(early, 8.0)
    assert valence == pytest.approx(-0.75)
    assert math.isnan(arousal)
    # What is past the film's end does not count.
    assert mean_mood(MoodCurve([0.0, 8.0, 8.5], [0.5, 0.5, -1], [1, 1, 1]), 8.0) == pytest.approx((0.5, 1.0))


def test_the_strength_reaches_the_model_and_matters() -> None:
    decoder = Feeling()
    guided = midi.to_bytes(moody(TURN, Recipe(mood_strength=2.0), decoder).score)
    assert all(len(ids) == 2 for ids, _, _ in decoder.inputs)
    for strength in (1.0, 4.0):
        assert midi.to_bytes(moody(TURN, Recipe(mood_strength=strength)).score) != guided
    with pytest.raises(InputError, match="mood_strength is 11; give a number from 0 to 10"):
        moody(TURN, Recipe(mood_strength=11))


def test_at_strength_0_a_mood_changes_nothing() -> None:
    recipe = Recipe(mood_strength=0)
    assert midi.to_bytes(moody(MoodCurve.constant(-1, 1), recipe).score) == midi.to_bytes(moody(None).score)


def test_a_model_that_knows_no_mood_refuses_one() -> None:
    with pytest.raises(ModelError, match="trained without mood, so a mood cannot be followed; leave it out, or give"):
        moody(TURN, decoder=Fake())
    nothing = MoodCurve.constant()
    assert midi.to_bytes(moody(nothing, decoder=Fake()).score) == midi.to_bytes(moody(None, decoder=Fake()).score)


@pytest.mark.slow
def test_the_model_in_the_package_listens() -> None:
    recipe = Recipe(seed=1, tempo_qpm=100)
    played = [
        soundtrack.compose(open_decoder(), 4.0, [], recipe, mood=MoodCurve.of_emotion(name)).score.pitch.tolist()
        for name in ("joy", "sadness")
    ]
    assert played[0] != played[1]


def test_a_mood_longer_than_the_film_is_refused() -> None:
    with pytest.raises(InputError, match=r"the mood curve reaches 240 s, past the video's end \(8 s\); cut it"):
        moody(MoodCurve([0, 240], [0, 1], [0, 1]))


def test_mood_moves_the_drawn_tempo() -> None:
    plain = Recipe(seed=5).tempo(0.0)
    assert plain is not None
    assert Recipe(seed=5).tempo(1.0) == plain + 35
    assert Recipe(seed=5).tempo(-0.5) == plain - 17.5
    assert Recipe(seed=5).tempo(None, 1.0) == plain + 15
    assert Recipe(seed=5).tempo(0.2, -0.2) == pytest.approx(plain + 4)
    assert Recipe(seed=5, arousal_qpm=10.0, valence_qpm=20.0).tempo(1.0, -1.0) == pytest.approx(plain - 10)
    assert Recipe(seed=5).tempo(math.nan, math.nan) == Recipe(seed=5).tempo()
    assert Recipe(seed=5, mood_strength=0).tempo(1.0) == Recipe(seed=5).tempo()
    old = Recipe(seed=5, song_tempi=False)
    assert replace(old, mood_strength=0).tempo(1.0, 1.0) == old.tempo() == plain
    assert Recipe(tempo_qpm=96).tempo(1.0) == 96
    assert Recipe(grid="free").tempo(1.0) is None
    drawn = [Recipe(seed=seed).tempo(arousal) or 0 for seed in range(50) for arousal in (-1, 1)]
    assert 49 <= min(drawn) < 55 < 160 < max(drawn) <= 167
    assert Recipe(valence_qpm=30.0).tempo_range(-1.0, -1.0) == (45.0, 67.0)  # no tempo is below 45, or above 240
    assert Recipe(valence_qpm=30.0, arousal_qpm=45.0).tempo_range(1.0, 1.0) == (159.0, 207.0)


@pytest.mark.parametrize(("low", "high", "by"), [((None, -1), (None, 1), 70), ((-1, None), (1, None), 30)])
@pytest.mark.parametrize("plan", ["on", "off"])
def test_excited_and_happy_music_is_faster(low: Any, high: Any, by: float, plan: Any) -> None:
    recipe = Recipe(tempo_plan=plan)
    slow, fast = (
        soundtrack.compose(Feeling(), 8.0, [], recipe, mood=MoodCurve.constant(*mood)).score.tempo.qpm[0]
        for mood in (low, high)
    )
    assert fast == pytest.approx(slow + by, abs=8)  # the tempi of the grid are up to 8 apart


# ---- the whole way -------------------------------------------------------------------------------------------------


def test_a_film_is_composed_for_and_its_record_composed_again(tmp_path: Path, film: Path, model: Path) -> None:
    stages: list[str] = []
    session = Session.open(model)
    track = soundtrack.for_video(
        film, Recipe(seed=2), output=tmp_path / "a.mid", session=session,
        progress=lambda stage, share: stages.append(stage),
    )  # fmt: skip
    assert list(dict.fromkeys(stages)) == ["watching", "composing"]
    assert track.scene is not None
    assert track.cuts_s.tolist() == track.scene.cuts_s.tolist()
    assert track.mood is not None
    assert (track.video, track.mood.source) == ("film.mp4", "builtin")
    assert json.loads((tmp_path / "a.mid.json").read_text()) == track.record()
    soundtrack.again(Record.read(tmp_path / "a.mid.json"), session=session).save(tmp_path / "b.mid")
    for end in ("", ".json"):
        assert (tmp_path / f"b.mid{end}").read_bytes() == (tmp_path / f"a.mid{end}").read_bytes()


@pytest.mark.slow
def test_cuts_and_moods_given_replace_those_of_the_film(tmp_path: Path, film: Path, model: Path) -> None:
    session, listed = Session.open(model), tmp_path / "cuts.csv"
    listed.write_text("2\n7\n")
    for cuts in ([2.0, 7.0], listed, str(listed)):
        track = soundtrack.for_video(film, cuts=cuts, mood=MoodSource.given(TURN, "me"), session=session)
        assert track.cuts_s.tolist() == [2.0, 7.0]
        assert track.mood is not None
        assert (track.mood.curve, track.mood.source) == (TURN, "me")
    assert soundtrack.for_video(film, mood=MoodSource(), session=session).mood is None


def test_a_model_without_mood_composes_without_unless_a_mood_is_asked_for(film: Path, model_without_mood: Path) -> None:
    session = Session.open(model_without_mood)
    assert soundtrack.for_video(film, session=session).mood is None
    with pytest.raises(ModelError, match="trained without mood, so a mood cannot be followed"):
        soundtrack.for_video(film, mood=MoodSource.reading(), session=session)


def test_the_output_is_checked_before_the_film_is_watched(tmp_path: Path, model: Path) -> None:
    (tmp_path / "a.mid").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.mid exists already"):
        soundtrack.for_video("none.mp4", output=tmp_path / "a.mid", session=Session.open(model))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mid"]


# ---- files ---------------------------------------------------------------------------------------------------------


def test_the_written_file_is_five_named_tracks_within_the_film(tmp_path: Path) -> None:
    recipe = Recipe(seed=2)
    track = composed(recipe)
    song, beside = saved(track, model_folder(tmp_path / "model")).save(tmp_path / "song.mid")
    assert (song.name, beside.name) == ("song.mid", "song.mid.json")
    file = mido.MidiFile(song)
    assert file.type == 1
    assert [t.name for t in file.tracks[1:]] == list(NAMES)
    markers = [m.text for m in file.tracks[0] if m.type == "marker"]
    assert markers == [m.text for m in track.score.markers]
    assert file.length <= DURATION_S + 1e-3
    written = json.loads(beside.read_text())
    assert written["cuts_s"] == list(CUTS_S)
    assert written["seed"] == 2
    assert written["notes"] == len(track.score)
    assert [h["cut_s"] for h in written["hits"]] == [4.0, 8.504, 13.0]
    assert written["model"]["weights_sha256"] == checkpoint.weights_hash(tmp_path / "model")


@pytest.mark.parametrize("taken", ["song.mid", "song.mid.json"])
def test_neither_file_is_written_where_one_place_is_taken(tmp_path: Path, taken: str) -> None:
    folder = tmp_path / "songs"
    folder.mkdir()
    (folder / taken).write_text("mine")
    track = saved(composed(), model_folder(tmp_path / "model"))
    with pytest.raises(OutputError, match=f"{taken} exists already; give --overwrite"):
        track.save(folder / "song.mid")
    assert [p.name for p in folder.iterdir()] == [taken]
    assert (folder / taken).read_text() == "mine"
    track.save(folder / "song.mid", overwrite=True)
    assert sorted(p.name for p in folder.iterdir()) == ["song.mid", "song.mid.json"]
    assert (folder / taken).read_bytes() != b"mine"


def test_nothing_is_written_into_a_missing_folder(tmp_path: Path) -> None:
    track = saved(composed(), model_folder(tmp_path / "model"))
    with pytest.raises(OutputError, match="nowhere is not a folder; make it first"):
        track.save(tmp_path / "nowhere" / "song.mid")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_piece_without_a_session_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say which model composed it; compose it with a session"):
        composed().save(tmp_path / "song.mid")
    assert not list(tmp_path.iterdir())


# ---- the record ----------------------------------------------------------------------------------------------------


# ---- the record ----------------------------------------------------------------------------------------------------

EVERYTHING = Recipe(
    seed=2**63 - 1, instruments="fewer", temperature=1.1, top_p=0.9,
    by_kind={"ON": (0.8, 0.95), "TIMESHIFT": (1.0, 1.0)}, hits="exact", t_diff_s=2.5, tempo_qpm=96.0, grid="free",
)  # fmt: skip


@pytest.mark.parametrize("recipe", [Recipe(), EVERYTHING], ids=["defaults", "everything"])
def test_a_record_composes_the_same_bytes(tmp_path: Path, recipe: Recipe) -> None:
    model = model_folder(tmp_path / "model")
    track = composed(recipe)
    _, beside = saved(track, model).save(tmp_path / "song.mid")
    record = Record.read(beside)
    assert record.recipe == recipe
    assert (record.duration_s, record.frame_rate) == (DURATION_S, Fraction(24000, 1001))
    assert record.cuts_s == CUTS_S
    assert (record.model_folder, record.backend, record.video) == (str(model), "fake", "film.mp4")
    again = soundtrack.compose(Fake(), record.duration_s, record.cuts_s, record.recipe)
    assert midi.to_bytes(again.score) == (tmp_path / "song.mid").read_bytes()
    assert record_of(again, model) == json.loads(beside.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("mood", [TURN, MoodCurve.constant(0.1 + 0.2, None)], ids=["curve", "constant"])
def test_a_record_with_a_mood_composes_the_same_bytes(tmp_path: Path, mood: MoodCurve) -> None:
    recipe, model = Recipe(seed=4, mood_strength=1.5), model_folder(tmp_path / "model")

    def composed(mood: MoodCurve | None) -> Soundtrack:
        return soundtrack.compose(Feeling(), DURATION_S, CUTS_S, recipe, mood=mood)

    track = composed(mood)
    made = record_of(track, model, "curve.csv")
    assert track.mood is not None
    named = replace(saved(track, model), mood=replace(track.mood, source="curve.csv"))
    _, beside = named.save(tmp_path / "song.mid")
    assert json.loads(beside.read_text())["mood"] == mood.as_json() | {"source": "curve.csv"}
    record = Record.read(beside)
    assert (record.mood, record.mood_source) == (mood, "curve.csv")
    again = composed(record.mood)
    assert midi.to_bytes(again.score) == (tmp_path / "song.mid").read_bytes()
    assert record_of(again, model, record.mood_source) == made
    assert midi.to_bytes(composed(None).score) != (tmp_path / "song.mid").read_bytes()


def test_a_record_from_before_mood_is_read(tmp_path: Path) -> None:
    record = record_of(composed(), model_folder(tmp_path / "model"))
    assert record.pop("mood") is None
    del record["settings"]["mood_strength"]
    file = tmp_path / "song.mid.json"
    file.write_text(json.dumps(record))
    found = Record.read(file)
    assert (found.mood, found.mood_source, found.recipe) == (None, None, Recipe())


def test_another_models_record_is_refused(tmp_path: Path) -> None:
    recipe = Recipe()
    model = model_folder(tmp_path / "model")
    track = composed(recipe, duration_s=DURATION_S)
    _, beside = saved(track, model).save(tmp_path / "song.mid")
    record = Record.read(beside)
    record.check_model(model)
    other = model_folder(tmp_path / "other", b"other weights")
    with pytest.raises(ModelError, match=r"weights hash to [0-9a-f]{12}, this one's to [0-9a-f]{12}; give the right"):
        record.check_model(other)
    with pytest.raises(ModelError, match="is not a model folder"):
        record.check_model(tmp_path / "none")


GONE = object()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], 2, "is not a record of format 1; give the .mid.json"),
        (["format"], GONE, "is not a record of format 1"),
        (["settings"], GONE, "lacks or garbles a value.*settings"),
        (["settings"], [], "lacks or garbles a value"),
        (["settings"], "seed", "lacks or garbles a value"),
        (["settings", "tempo"], 120, "lacks or garbles a value.*tempo"),
        (["settings", "seed"], GONE, "lacks or garbles a value.*seed"),
        (["settings", "seed"], -3, "seed is -3; give a whole number from 0"),
        (["settings", "seed"], "3", "seed is '3'; give a whole number from 0"),
        (["settings", "hits"], "miss", "hits is 'miss'; choose one of"),
        (["settings", "temperature"], "hot", "temperature is 'hot'"),
        (["settings", "by_kind"], [1], "lacks or garbles a value"),
        (["settings", "by_kind"], {"ON": 3}, "lacks or garbles a value"),
        (["settings", "by_kind"], {"ON": [1, 2, 3]}, "lacks or garbles a value"),
        (["duration_s"], GONE, "lacks or garbles a value.*duration_s"),
        (["duration_s"], "long", "lacks or garbles a value"),
        (["duration_s"], None, "lacks or garbles a value"),
        (["frame_rate"], "1e99999999", "the frame rate '1e99999999' is not one"),
        (["frame_rate"], "24/0", r"song\.mid\.json: the frame rate '24/0' is not one"),
        (["frame_rate"], "fast", "the frame rate 'fast' is not one"),
        (["frame_rate"], float("inf"), "the frame rate inf is not one"),
        (["cuts_s"], 4.0, "lacks or garbles a value"),
        (["cuts_s"], ["early"], "lacks or garbles a value"),
        (["cuts_s"], [10**400], "lacks or garbles a value"),
        (["model"], "small", "lacks or garbles a value"),
        (["model", "folder"], 7, "lacks or garbles a value"),
        (["model", "weights_sha256"], GONE, "lacks or garbles a value"),
        (["backend"], GONE, "lacks or garbles a value"),
        (["video"], {"name": "a"}, "lacks or garbles a value"),
        (["mood"], [0.5], "lacks or garbles a value"),
        (["mood"], {"times_s": [0], "valence": [0]}, "lacks or garbles a value.*arousal"),
        (["mood"], {"times_s": [0], "valence": [0], "arousal": [0]}, "lacks or garbles a value.*source"),
        (["mood"], {"times_s": [0], "valence": ["low"], "arousal": [0], "source": "x"}, "lacks or garbles a value"),
        (["mood"], {"times_s": [0], "valence": [0], "arousal": [0], "source": 3}, "lacks or garbles a value"),
        (["mood"], {"times_s": [0], "valence": [2], "arousal": [0], "source": "x"}, r"valence 2 at 0 s is outside"),
        (["settings", "mood_strength"], "strong", "mood_strength is 'strong'; give a number from 0 to 10"),
    ],
)
def test_garbled_records_are_refused(tmp_path: Path, path: list[str], value: Any, message: str) -> None:
    record = record_of(composed(duration_s=DURATION_S, cuts_s=[]), model_folder(tmp_path / "model"))
    inner: Any = record
    for key in path[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    file = tmp_path / "song.mid.json"
    file.write_text(json.dumps(record))
    with pytest.raises(InputError, match=message):
        Record.read(file)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON .*; give the .mid.json that emsync compose wrote"),
        (b'{"format": 1, "sett', "is not JSON"),
        (b"MThd\x00\x00\x00\x06\x00\x01\xff\xfe", "is not JSON"),
        (b"[]", "is not a record of format 1"),
        (b"null", "is not a record of format 1"),
        (b"{}", "is not a record of format 1"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "song.mid.json"
    file.write_bytes(data)
    with pytest.raises(InputError, match=message):
        Record.read(file)


def test_a_missing_record_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError, match=r"cannot be read \(.*\); give the .mid.json that emsync compose wrote"):
            Record.read(place)


def test_music_is_the_same_from_memory_and_from_the_file() -> None:
    data = midi.to_bytes(composed().score)
    assert mido.MidiFile(file=io.BytesIO(data)).length <= DURATION_S + 1e-3
    score = midi.from_bytes(data)
    assert len(score) == len(composed().score)


def test_without_a_tempo_one_is_drawn_with_the_seed() -> None:
    drawn = {Recipe(seed=seed, song_tempi=False).tempo() for seed in range(20)}
    assert len(drawn) == 20
    assert all(84 <= tempo <= 132 for tempo in drawn if tempo is not None)
    as_in_songs = [Recipe(seed=seed).tempo() or 0.0 for seed in range(400)]
    assert np.quantile(as_in_songs, [0.0, 0.5, 1.0]) == pytest.approx([70, 120, 184], abs=5)
    assert np.mean([tempo > 140 for tempo in as_in_songs]) == pytest.approx(0.2 / 0.9, abs=0.05)
    assert Recipe(seed=3).tempo() == Recipe(seed=3).tempo()
    assert all(54 <= (Recipe(seed=seed, describe="slow").tempo() or 0.0) <= 76 for seed in range(9))
    slowest, fastest = Recipe(seed=3).tempo_range()
    assert (slowest * 1.25, fastest / 1.25) == pytest.approx((Recipe(seed=3).tempo(),) * 2)
    assert Recipe(seed=3, tempo_qpm=99.0).tempo_range() == (slowest, fastest)
    assert Recipe(seed=3, mood_strength=0.0).tempo(0.5, 0.5) == Recipe(seed=3).tempo()
    assert 84 <= (Recipe(seed=3).tempo(0.0, 0.0) or 0) <= 132
    assert Recipe(grid="free").tempo() is None
    assert Recipe(grid="free", tempo_qpm=100.0).tempo() == 100.0
    with pytest.raises(InputError, match="grid is 'quavers'; choose one of triplets, sixteenths, free"):
        Recipe(grid="quavers")  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", [None, "sixteenths"])
def test_by_default_music_keeps_to_sixteenths_and_triplets_in_the_drawn_tempo(grid: Any) -> None:
    recipe = Recipe(seed=3) if grid is None else Recipe(seed=3, grid=grid)
    score = soundtrack.compose(Fake(), 20.0, [], recipe).score
    drawn = recipe.tempo()
    assert drawn is not None
    assert score.tempo.qpm == pytest.approx(drawn)
    off = [np.abs(parts * score.tempo.quarters_at(score.start_s) % 1 - 0.5) for parts in (4, 6)]
    assert (0.5 - (off[0] if grid else np.maximum(*off))).max() < 0.05
    assert grid or (0.5 - off[0]).max() > 0.2, "there are triplets"
    ends = 4 * score.tempo.quarters_at(score.end_s[score.instrument > 0])
    assert (np.abs(ends - np.rint(ends)) > 0.1).mean() > 0.2, "notes close where they like"


@pytest.mark.slow
def test_a_thousand_cuts_a_minute() -> None:
    cuts_s = (np.arange(1, 200) * 0.06).tolist()  # 12 s
    track = composed(Recipe(t_diff_s=4.0), cuts_s, 12.0)
    assert len(track.score.markers) == 199
    assert np.diff(track.boundaries_s).min() >= 4.0 - 1e-6
    assert len(track.boundaries_s) == 3
    assert track.n_within_frame == 2
    assert track.missed_s.tolist() == track.boundaries_s[:1].tolist()  # half a second is no beat of this tempo
    track = composed(Recipe(t_diff_s=0.0), cuts_s, 12.0)
    assert len(track.boundaries_s) > 100
    assert 0 < track.n_within_frame < len(track.boundaries_s)
