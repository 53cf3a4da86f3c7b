"""A piece obeys its controls, whatever the model would rather play."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emsync import composer, controls
from emsync import vocabulary as v
from emsync.contrast import Contrast
from emsync.control_curves import REST, Control, ControlCurves, of_text
from emsync.errors import InputError
from emsync.grammar import Grammar
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.steering import Steering, obey_intensity, scale_bias
from tests.composing import asked
from tests.fakes import Fake, plain_recipe

LENGTH_S = 12.0
#: Where the music is the model's own: the beginning and the close are not steered.
INSIDE = (controls.frame_times(LENGTH_S) > 1.0) & (controls.frame_times(LENGTH_S) < LENGTH_S - 1.0)


def held(name: str, *values: str, every_s: float = 4.0, strength: float = 1.0) -> ControlCurves:
    levels = np.array([of_text(name, value) for value in values])
    return ControlCurves({name: Control(np.arange(len(values)) * every_s, levels, strength)})


def composed(curves: ControlCurves | None, shy: float = 0.0, brief: float = 0.0, **choices: object) -> Score:
    """A piece; `shy` makes notes so much unlikelier, `brief` their ends likelier."""
    recipe = plain_recipe(seed=5, grid="sixteenths", tempo_qpm=100.0, loose_ends=False, controls=curves, **choices)
    four = np.where(np.arange(v.SIZE) == v.ID_OF["BAR_4"], 50.0, 0.0)  # the pattern is counted from the bar
    four += np.where(v.KIND == v.K_OFF, brief, 0.0) - np.where(v.KIND == v.K_ON, shy, 0.0)
    (piece,) = composer.compose(Fake(bias=four), [asked(LENGTH_S)], recipe)
    return composer.score_of(piece, LENGTH_S)


@pytest.fixture(scope="module")
def free() -> Score:
    return composed(None)


@pytest.mark.slow
def test_without_controls_or_strength_nothing_changes(free: Score) -> None:
    none = held("key", "D minor", strength=0.0)
    assert composed(none) == free
    assert composed(held("key", "D minor"), control_strength=0.0) == free
    gap = ControlCurves({"density": Control(np.array([0.0]), np.array([np.nan]))})
    assert composed(gap) == free


@pytest.mark.parametrize("level", [3.0, 8.0, 15.0])
def test_density(level: float) -> None:
    curves = ControlCurves({"density": Control(np.zeros(1), np.array([level]))})
    found = controls.density(composed(curves).start_s, controls.frame_times(LENGTH_S), LENGTH_S)[INSIDE].mean()
    assert found == pytest.approx(level, rel=0.25)


def test_key(free: Score) -> None:
    def share(score: Score) -> float:
        own = score.pitch[score.instrument != v.DRUMS] % 12
        return float(controls.in_scale(int(of_text("key", "Eb")))[own].mean())

    assert share(composed(held("key", "Eb"))) > 0.97 > 0.8 > share(free)
    bias = scale_bias(int(of_text("key", "A minor")))
    drum, a, bflat = v.ON_BASE[v.DRUMS] + 40, v.ON_BASE[v.PIANO] + 69, v.ON_BASE[v.PIANO] + 70
    assert bias[a] > bias[drum] == 0 > bias[bflat]


def test_melody() -> None:
    curves = held("melody", "C", "D", "rest", "F#", "F#", "A", every_s=1.5)
    score = composed(curves)
    wanted = curves["melody"].at(controls.frame_times(LENGTH_S))
    on, off, pitch = (x[score.instrument != v.DRUMS] for x in (score.start_s, score.end_s, score.pitch))
    now, _ = controls.melody(on, off, pitch, LENGTH_S)
    # A frame or two around each note is lost to the grid.
    assert (now == wanted)[INSIDE & (wanted != REST)].mean() > 0.8
    assert (now == wanted)[INSIDE & (wanted == REST)].mean() > 0.6
    # The repeated F# is struck again.
    lead = score.of(v.STRINGS)
    struck = lead.start_s[(lead.pitch % 12 == 6) & (lead.pitch >= controls.LEAD_FROM)]
    assert ((struck[:, None] - [4.5, 6.0]).__abs__().min(axis=0) < 0.1).all()


def test_rhythm() -> None:
    score = composed(held("rhythm", "x..x", "x.x.", every_s=6.0))
    sixteenth = score.tempo.quarters_at(score.start_s) * 4
    slot = np.rint(sixteenth).astype(int)
    for first, last, pattern in ((1.0, 5.5, "x..x"), (6.5, 11.0, "x.x.")):
        inside = (score.start_s > first) & (score.start_s < last)
        assert {i for i in range(4) if pattern[i] == "x"} == set((slot[inside] % 4).tolist())
        beats = np.arange(slot[inside].min() // 4 + 1, slot[inside].max() // 4)
        for beat in beats:
            assert {4 * beat + i for i in range(4) if pattern[i] == "x"} <= set(slot.tolist())


def test_intensity_is_exact_and_keeps_accents(free: Score) -> None:
    times = controls.frame_times(LENGTH_S)
    control = Control(np.array([0.0, LENGTH_S]), np.array([-14.0, -2.0]))
    loud = obey_intensity(free, control)
    found = controls.of_score(loud)["intensity"].at(times)
    played = controls.of_score(free)["intensity"].at(times) > -25
    assert np.abs(found - control.at(times))[INSIDE & played].mean() < 1.0
    np.testing.assert_array_equal(loud.start_s, free.start_s)
    together = np.flatnonzero(np.diff(free.start_s) < 1e-6)
    order = np.sign(np.diff(free.velocity)[together])
    assert (np.sign(np.diff(loud.velocity)[together]) * order >= 0).mean() > 0.95  # they end at different times
    half = obey_intensity(free, Control(control.times_s, control.values, strength=0.5))
    between = controls.of_score(half)["intensity"].at(times)
    middle = (controls.of_score(free)["intensity"].at(times) + control.at(times)) / 2
    assert np.abs(between - middle)[INSIDE & played].mean() < 1.0


def missed_db(curves: ControlCurves, by: str) -> np.ndarray:
    """How far the intensity of a composed piece is from its control, at each moment inside."""
    score = obey_intensity(composed(curves, shy=4.0, intensity_by=by), curves["intensity"])
    times = controls.frame_times(LENGTH_S)
    return (controls.of_score(score, LENGTH_S)["intensity"].at(times) - curves["intensity"].at(times))[INSIDE]


def test_enough_notes_sound_to_be_as_loud_as_asked() -> None:
    rising = ControlCurves({"intensity": Control(np.array([0.0, LENGTH_S]), np.array([-12.0, 8.0]))})
    kept, scaled = missed_db(rising, "notes"), missed_db(rising, "velocity")
    assert np.abs(kept).mean() < 1.0
    assert np.abs(kept).mean() < 0.7 * np.abs(scaled).mean()
    assert kept.min() > -8.0  # nowhere is it silent, which would be 30 dB off
    # A quiet passage needs no more than a note, and a gap asks for nothing.
    quiet, loud = (held("intensity", level) for level in ("-30", "8"))
    assert len(composed(quiet, shy=4.0)) < 0.5 * len(composed(loud, shy=4.0))
    gap = ControlCurves({"intensity": Control(np.zeros(1), np.array([np.nan]))})
    assert composed(gap) == composed(None)


def test_a_density_says_how_many_notes_begin_however_loud() -> None:
    both = ControlCurves(
        {"intensity": Control(np.zeros(1), np.array([6.0])), "density": Control(np.zeros(1), np.array([4.0]))}
    )
    found = controls.density(composed(both).start_s, controls.frame_times(LENGTH_S), LENGTH_S)[INSIDE].mean()
    assert found == pytest.approx(4.0, rel=0.3)
    both = ControlCurves({**both.by_name, "density": Control(np.zeros(1), np.array([1.5]))})
    score = composed(both, brief=11.0)
    pitched = score.instrument != v.DRUMS
    times = controls.frame_times(LENGTH_S)[INSIDE]
    sounding = (score.start_s[pitched] <= times[:, None]) & (score.end_s[pitched] > times[:, None])
    assert sounding.any(axis=1).mean() > 0.95


def test_time_does_not_go_where_a_note_that_is_wanted_would_have_to_end() -> None:
    """Between sixteenths only ends come: with few notes sounding, one after another fell silent there."""
    chord = [v.ON_BASE[v.PIANO] + pitch for pitch in (60, 64, 67)]
    recipe = plain_recipe(grid="sixteenths", tempo_qpm=100.0, loose_ends=True)

    def leaning(level: float) -> np.ndarray:
        grammar = Grammar(recipe, round(LENGTH_S / v.STEP_S), np.zeros(0), beat_steps=75)
        for event in (v.START, v.ID_OF["BAR_4"], *chord):
            grammar.accept(int(event))
        away = grammar.off_grid()
        assert len(away)
        curves = ControlCurves({"intensity": Control(np.zeros(1), np.array([level]))})
        out = Steering(curves).steer(np.zeros(v.SIZE, dtype=np.float32), grammar)
        on_grid = np.setdiff1d(np.arange(v.SIZE)[v.KIND == v.K_TIMESHIFT], away)
        return out[away][-20:] - out[on_grid][-1]

    assert (leaning(8.0) < -10).all()
    assert (leaning(-30.0) > -1).all()


def test_a_gap_leaves_velocities_alone(free: Score) -> None:
    control = Control(np.array([0.0, 5.0, 6.0, 12.0]), np.array([-20.0, -20.0, np.nan, np.nan]))
    loud = obey_intensity(free, control)
    late = free.start_s > 6.5
    np.testing.assert_array_equal(loud.velocity[late], free.velocity[late])
    assert loud.velocity[free.start_s < 4].mean() < free.velocity[free.start_s < 4].mean() - 20
    assert obey_intensity(free, None) is free


def test_a_recipe_says_what_is_controlled() -> None:
    recipe = Recipe(intensity="build", controls=held("key", "D"), control_strength=0.5)
    curves = recipe.curves(20.0)
    assert {name: curves[name].strength for name in curves} == {"key": 0.5, "intensity": 0.5}
    plain = json.loads(json.dumps(recipe.to_dict()))
    assert Recipe.from_dict(plain) == recipe
    with pytest.raises(InputError, match="the controls have a curve for density already; leave out --density"):
        Recipe(density="8", controls=ControlCurves({"density": Control(np.zeros(1), np.ones(1))}))
    with pytest.raises(InputError, match="intensity is 'loud'; give none, build"):
        Recipe(intensity="loud")
    with pytest.raises(InputError, match="controls is 3; give ControlCurves"):
        Recipe(controls=3)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_command_line(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from emsync import midi
    from emsync.cli.main import main

    song, found = str(tmp_path / "a.mid"), str(tmp_path / "a.json")
    common = ["--model", str(model), "-q", "--duration", "4"]
    assert main(["compose", *common, "--intensity", "-6", "--density", "arc", "-o", song]) == 0
    assert main(["controls", song, "-o", found]) == 0
    assert "density: " in capsys.readouterr().out
    again = str(tmp_path / "b.mid")
    assert main(["compose", *common, "--controls", found, "-o", again]) == 0
    assert main(["compose", "--from", again + ".json", "-o", str(tmp_path / "c.mid"), "-q"]) == 0
    assert Path(again).read_bytes() == (tmp_path / "c.mid").read_bytes()
    assert main(["controls", song, "--only", "tempo", "-o", str(tmp_path / "d.json")]) == 2
    assert "there is no control 'tempo'; controls are intensity, density" in capsys.readouterr().err
    assert main(["compose", *common, "--controls", found, "-o", found]) == 2
    assert "is what is read" in capsys.readouterr().err
    midi.write(Score.empty(duration_s=3.0), tmp_path / "none.mid")
    assert main(["controls", str(tmp_path / "none.mid")]) == 2
    assert "none.mid has no notes; was the right file given?" in capsys.readouterr().err
    assert not (tmp_path / "none.controls.json").exists()


def test_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import wave

    from emsync.audio_controls import of_sound
    from emsync.cli.main import main

    rate = 22_050
    at = np.arange(6 * rate) / rate
    tone = np.where(at < 3, 0.05, 0.5) * np.sin(2 * np.pi * np.where(at < 3, 440.0, 523.25) * at) * ((at % 0.5) < 0.4)

    def wav(name: str, sound: np.ndarray) -> Path:
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes((sound * 32767).astype("<i2").tobytes())
        return tmp_path / name

    curves = of_sound(wav("a.wav", tone))
    np.testing.assert_array_equal(curves["melody"].at([1.2, 4.2]), [9, 0])
    louder = curves["intensity"].at([1.2, 4.2])
    assert louder[1] - louder[0] == pytest.approx(20, abs=4)
    assert curves["density"].at(3.0) > 2
    assert main(["controls", str(wav("none.wav", np.zeros(rate)))]) == 2
    assert "none.wav is silent; give a sound with music in it" in capsys.readouterr().err
    (tmp_path / "text.wav").write_text("no sound")
    assert main(["controls", str(tmp_path / "text.wav")]) == 2
    assert "text.wav cannot be decoded" in capsys.readouterr().err


CHANGES = ControlCurves({"change": Control(np.arange(0.0, LENGTH_S, 1.5), np.tile([0.0, 1.0], 4))})


def test_change(free: Score) -> None:
    times = controls.frame_times(LENGTH_S)
    wanted = CHANGES["change"].at(times)

    def agreement(score: Score) -> float:
        return float(np.corrcoef(controls.of_score(score, LENGTH_S)["change"].at(times)[INSIDE], wanted[INSIDE])[0, 1])

    assert agreement(composed(CHANGES)) > 0.5 > 0.25 > agreement(free)


def test_change_leans_away_from_what_has_just_sounded_or_towards_it() -> None:
    contrast = Contrast(CHANGES["change"])
    grammar = Grammar(plain_recipe(), round(LENGTH_S / v.STEP_S), np.zeros(0), beat_steps=75)
    c, e, far = (v.ON_BASE[v.PIANO] + pitch for pitch in (60, 64, 102))
    shift = v.ids_of_kind(v.K_TIMESHIFT)
    second = int(np.arange(shift.start, shift.stop)[v.VALUE[shift] == v.VALUE[shift].max()][0])

    def leaning(*events: int) -> np.ndarray:
        for event in events:
            grammar.accept(event)
            contrast.accept(event, grammar)
        out = np.zeros(v.SIZE, dtype=np.float32)
        contrast.steer(out, grammar)
        return out

    assert not leaning(v.START, v.ID_OF["BAR_4"]).any()  # nothing has sounded
    still = leaning(c, e, second)
    asked = CHANGES["change"].at(grammar.step * v.STEP_S)
    assert asked > 0.5
    assert still[c] < still[far] == 0 < still[v.PARTNER[c]]
    while asked > 0.3:
        still = leaning(second)
        asked = CHANGES["change"].at(grammar.step * v.STEP_S)
    assert still[c] > still[far] == 0 > still[v.PARTNER[c]]
    gap = Contrast(Control(np.zeros(1), np.array([np.nan])))
    out = np.zeros(v.SIZE, dtype=np.float32)
    gap.steer(out, grammar)
    assert not out.any()
