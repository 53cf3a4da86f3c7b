"""Bits per note: every event once, the numbers of the model itself, and refusals in one sentence."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emsync import checkpoint, meter
from emsync import vocabulary as v
from emsync.cli import main as root
from emsync.conditions import COPY_LANES, METER_LANES, Conditions
from emsync.copying import lanes_of_song
from emsync.errors import CorpusError, InputError, ModelError, OutputError
from emsync.model import AROUSAL_SLOT, VALENCE_SLOT, EventTransformer
from emsync.tokenizer.events import times_steps
from emsync.training.corpus.archive import Song, pack, write_archive
from emsync.training.crops import PREFIX
from emsync.training.dataset import Dataset
from emsync.training.evaluation import report_page
from emsync.training.evaluation.evaluate import BASELINES, Report, baselines, bits, choose, evaluate, table, windows
from emsync.training.evaluation.report_page import write
from tests.models import CONFIGS, LOCAL, RELATIVE, ROTARY, archive_file, model_folder, random_model, toy_archive


def toy_data(n_songs: int = 2, bars: int = 2) -> Dataset:
    return Dataset.of(dict(toy_archive(n_songs, bars=bars).arrays))


@given(st.integers(0, 300), st.integers(2, 40))
def test_windows_score_every_event_once_behind_half_a_window(n_events: int, size: int) -> None:
    found = windows(n_events, size)
    assert [event for _, first, end in found for event in range(first, end)] == list(range(n_events))
    for i, (begin, first, end) in enumerate(found):
        assert end - begin <= size
        assert begin == 0 if i == 0 else first - begin >= size // 2


def naive(
    model: EventTransformer, data: Dataset, song: int, *, conditioned: bool, mood: bool = False
) -> tuple[np.ndarray, float, np.ndarray]:
    """Bits of each event of a song, of all its velocities, and its ids: one window, one row, one event at a time."""
    ids, velocities = data.song(song)
    count, ids, velocities = ids[0], ids[1:], velocities[1:]
    seconds = times_steps(ids) * v.STEP_S
    chords = seconds[ids == v.CHORD]
    asked = Conditions(boundaries_s=chords, end_s=seconds[-1]) if conditioned else Conditions()
    if mood:
        times_s, levels = data.song_mood(song, seconds[-1])
        means = {f"piece_{axis}": float(levels[:, k].mean()) for k, axis in enumerate(("valence", "arousal"))}
        asked = replace(asked, valence=(times_s, levels[:, 0]), arousal=(times_s, levels[:, 1]), **means)
    lanes = asked.at(seconds, ids == v.CHORD)
    if conditioned:
        bars = np.flatnonzero(v.KIND[ids] == v.K_BAR)
        steps = times_steps(ids)
        sixteenth = (steps[bars[1]] - steps[bars[0]]) / (2 * v.VALUE[ids[bars[0]]])
        lanes[:, METER_LANES] = meter.of_events(ids, steps, sixteenth)
        lanes[:, COPY_LANES] = lanes_of_song(ids)
    cost, velocity_cost = np.full(len(ids), np.nan), 0.0
    for begin, first, end in windows(len(ids), model.config.context - PREFIX):
        read = torch.tensor([VALENCE_SLOT, AROUSAL_SLOT, count, *ids[begin:end]])[None]
        previous_velocity = torch.tensor([0] * (PREFIX + 1) + velocities[begin : end - 1].tolist())[None]
        hears = torch.from_numpy(np.concatenate([lanes[begin : begin + 1]] * PREFIX + [lanes[begin:end]]))[None]
        with torch.no_grad():
            events, levels = model(read, previous_velocity, hears, torch.from_numpy(asked.mood)[None])
        for event in range(first, end):
            place = PREFIX + event - begin
            cost[event] = -float(events[0, place - 1].log_softmax(-1)[ids[event]]) / math.log(2)
            if velocities[event]:
                velocity_cost -= float(levels[0, place].log_softmax(-1)[int(velocities[event]) - 1]) / math.log(2)
    return cost, velocity_cost, ids


@pytest.mark.parametrize("conditioned", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_bits_are_the_models_own(name: str, conditioned: bool) -> None:
    data, model = toy_data(bars=4), random_model(CONFIGS[name])
    done: list[tuple[int, int]] = []
    report = bits(model, data, conditions=conditioned, batch=3, bf16=False, progress=lambda *at: done.append(at))
    parts = [naive(model, data, song, conditioned=conditioned) for song in range(2)]
    ids = np.concatenate([part[2] for part in parts])
    assert len(ids) > 3 * model.config.context  # several windows, of which the last is shorter
    assert report.count.tolist() == np.bincount(ids, minlength=v.SIZE).tolist()
    costs = np.concatenate([part[0] for part in parts])
    assert report.bits == pytest.approx(np.bincount(ids, weights=costs, minlength=v.SIZE), rel=1e-4, abs=1e-4)
    assert report.velocity_bits == pytest.approx(sum(part[1] for part in parts), rel=1e-4)
    assert (report.songs, report.events, report.notes) == (2, len(ids), int((v.KIND[ids] == v.K_ON).sum()))
    assert report.bits_per_note == pytest.approx(costs.sum() / report.notes, rel=1e-4)
    assert report.bits_per_event == pytest.approx(costs.mean(), rel=1e-4)
    assert done[-1] == (len(ids), len(ids))


def test_a_model_is_conditioned_on_the_songs_mood() -> None:
    data, model = toy_data(1, bars=4), random_model(replace(ROTARY, knows_mood=True))
    conditioned = bits(model, data, mood=True, bf16=False)
    assert conditioned.bits.sum() == pytest.approx(
        naive(model, data, 0, conditioned=True, mood=True)[0].sum(), rel=1e-4
    )
    assert conditioned.bits_per_note != bits(model, data, bf16=False).bits_per_note


def test_the_batch_changes_nothing_and_songs_add_up() -> None:
    data, model = toy_data(3), random_model(LOCAL)
    one, many = (bits(model, data, batch=batch, bf16=False) for batch in (1, 64))
    assert one.bits == pytest.approx(many.bits, rel=1e-4)
    apart = [bits(model, data, songs=[i], bf16=False) for i in range(3)]
    assert sum(report.bits for report in apart) == pytest.approx(many.bits, rel=1e-4)
    assert sum(report.velocity_bits for report in apart) == pytest.approx(many.velocity_bits, rel=1e-4)


def test_conditions_have_an_effect() -> None:
    data, model = toy_data(), random_model(ROTARY)
    assert bits(model, data, bf16=False).bits_per_note != bits(model, data, conditions=False, bf16=False).bits_per_note


def test_bfloat16_costs_nearly_the_same() -> None:
    data, model = toy_data(), random_model(ROTARY)
    exact, half = (bits(model, data, bf16=bf16).bits_per_note for bf16 in (False, True))
    assert half != exact
    assert half == pytest.approx(exact, rel=0.05)


def test_the_model_is_left_as_it_was() -> None:
    model = random_model(ROTARY).train()
    bits(model, toy_data(1, bars=1), bf16=False)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_parts_of_a_report() -> None:
    piano, drums = int(v.ON_BASE[v.PIANO]) + 60, int(v.ON_BASE[v.DRUMS]) + 36
    ids = np.array([v.START, piano, drums, v.SHIFT_BASE + 5, int(v.PARTNER[piano]), piano, v.END])
    report = Report.of(ids, np.array([0.0, 4, 2, 1, 3, 5, 1]), songs=1, velocity_bits=6)
    assert (report.notes, report.events) == (3, 7)
    assert report.bits_per_note == pytest.approx(16 / 3)
    assert report.velocity_bits_per_note == 2
    kinds, families = report.by_kind(), report.by_family()
    assert list(kinds) == ["START", "END", "TIMESHIFT", "ON", "OFF"]
    assert sum(share.to_dict()["bits_per_note"] for share in kinds.values()) == pytest.approx(report.bits_per_note)
    assert kinds["ON"].to_dict() == {"events": 3, "notes": 3, "bits_per_event": 11 / 3, "bits_per_note": 11 / 3}
    assert list(families) == ["drums", "piano"]
    assert families["piano"].to_dict() == {"events": 3, "notes": 2, "bits_per_event": 4, "bits_per_note": 6}


def test_a_report_refuses_what_are_no_numbers() -> None:
    with pytest.raises(ModelError, match="predictions are not numbers"):
        Report.of(np.array([1]), np.array([math.nan]), songs=1)
    with pytest.raises(InputError, match=f"needs {v.SIZE} counts and bits"):
        Report(np.zeros(3, dtype=np.int64), np.zeros(3), 0.0, 1)


def test_a_model_of_broken_weights_is_refused() -> None:
    model = random_model(ROTARY)
    with torch.no_grad():
        model.velocity_head.weight[0] = math.nan
        model.head.weight[0] = math.nan
    with pytest.raises(ModelError, match="its weights are damaged"):
        bits(model, toy_data(1), bf16=False)


def test_a_context_too_short() -> None:
    with pytest.raises(ModelError, match="context of 4 is too short to measure; it must be at least 5"):
        bits(random_model(replace(RELATIVE, context=4)), toy_data(1), bf16=False)


def test_bits_refuses_batches_and_songs_that_cannot_be() -> None:
    data, model = toy_data(), random_model(RELATIVE)
    with pytest.raises(InputError, match="a batch of 0 windows holds nothing; give at least 1"):
        bits(model, data, batch=0)
    with pytest.raises(InputError, match="songs 0 to 2 were asked for; the corpus holds 0 to 1"):
        bits(model, data, songs=[0, 2])
    with pytest.raises(InputError, match="no songs were given"):
        bits(model, data, songs=[])


def test_choosing_songs() -> None:
    data = toy_data(6, bars=1)
    assert choose(data).tolist() == [0, 1, 2, 3, 4, 5]
    assert choose(data, 2).tolist() == [0, 1]
    assert choose(data, 99).tolist() == [0, 1, 2, 3, 4, 5]
    drawn = [choose(data, 3, seed=seed).tolist() for seed in range(8)]
    assert drawn[1] == choose(data, 3, seed=1).tolist()
    assert all(songs == sorted(set(songs)) and len(songs) == 3 for songs in drawn)
    assert len({tuple(songs) for songs in drawn}) > 1
    with pytest.raises(InputError, match="0 songs cannot be measured; give at least 1"):
        choose(data, 0)


def test_baselines_cost_the_same_events() -> None:
    train, data = toy_data(4), toy_data(3)
    found = baselines(train, data, songs=[0, 2])
    assert list(found) == [name for name, _, _ in BASELINES]
    ids = np.concatenate([data.song(song)[0][1:] for song in (0, 2)])
    assert all(report.count.tolist() == np.bincount(ids, minlength=v.SIZE).tolist() for report in found.values())
    assert found["unigram, add-one"].bits_per_note > found["trigram, Kneser–Ney"].bits_per_note
    assert math.isnan(found["unigram, add-one"].velocity_bits_per_note)
    assert list(baselines(train, data, names=["bigram, add-one"])) == ["bigram, add-one"]


def test_table() -> None:
    assert table(["", "x"], [["a", 1.23456], ["b", math.nan]]) == [
        "|  | x |",
        "|---|---:|",
        "| a | 1.235 |",
        "| b | – |",
    ]


def test_evaluating_a_folder(tmp_path: Path) -> None:
    archive, train = archive_file(tmp_path / "v.npz", 3, bars=2), archive_file(tmp_path / "t.npz", 4, bars=2)
    folder = model_folder(tmp_path / "model", replace(ROTARY, knows_mood=False))
    result = evaluate(archive, folder, n_songs=2, bf16=False, ngrams_archive=train)
    data = Dataset.of(dict(toy_archive(3, bars=2).arrays))
    conditioned, unconditioned = (
        bits(folder, data, songs=[0, 1], conditions=each, bf16=False) for each in (True, False)
    )
    values = result.to_dict()
    assert values["bits_per_note"] == pytest.approx(conditioned.bits_per_note)
    assert values["velocity_bits_per_note"] == pytest.approx(conditioned.velocity_bits_per_note)
    assert values["bits_per_event"] == pytest.approx(conditioned.bits_per_event)
    assert values["unconditioned_bits_per_note"] == pytest.approx(unconditioned.bits_per_note)
    assert (values["songs"], values["notes"], values["events"]) == (2, conditioned.notes, conditioned.events)
    assert values["by_kind"]["CHORD"]["events"] == 2
    assert set(values["by_family"]) == {"drums", "piano", "bass", "strings"}
    assert values["model"]["folder"] == "model"
    assert values["model"]["weights_hash"] == checkpoint.weights_hash(folder)
    assert values["archive"] == "v.npz"
    assert values["settings"]["ngrams"] == "t.npz"
    assert values["settings"]["snap_tempo"] is True
    trigram = baselines(Dataset.of(dict(toy_archive(4, bars=2).arrays)), data, songs=[0, 1])["trigram, Kneser–Ney"]
    assert values["baselines"]["trigram, Kneser–Ney"]["bits_per_note"] == pytest.approx(trigram.bits_per_note)
    assert str(tmp_path) not in json.dumps(values)


def test_a_model_that_knows_mood_is_measured_without_it_too(tmp_path: Path) -> None:
    archive = archive_file(tmp_path / "v.npz", 1, bars=2)
    for knows in (True, False):
        folder = model_folder(tmp_path / f"model-{knows}", replace(ROTARY, knows_mood=knows))
        result = evaluate(archive, folder, bf16=False)
        data = Dataset.of(dict(toy_archive(1, bars=2).arrays))
        conditioned = bits(folder, data, mood=knows, bf16=False).bits_per_note
        values = result.to_dict()
        assert values["bits_per_note"] == pytest.approx(conditioned)
        assert (values.get("without_mood_bits_per_note") is not None) == knows
        assert ("the model, without mood" in result.to_markdown()) == knows
        if knows:
            plain = bits(folder, data, bf16=False).bits_per_note
            assert values["without_mood_bits_per_note"] == pytest.approx(plain) != pytest.approx(conditioned, rel=1e-6)


def test_songs_without_notes_are_refused(tmp_path: Path) -> None:
    silent = Song(*[np.zeros(0, dtype=int)] * 5, *[np.zeros(0)] * 5, song_id="0" * 32, source="a.mid")
    write_archive(tmp_path / "silent.npz", pack([silent]))
    with pytest.raises(CorpusError, match=r"the songs of .*silent.npz hold no notes; give an archive of songs"):
        evaluate(tmp_path / "silent.npz", model_folder(tmp_path / "model"), bf16=False)


def test_songs_are_tokenized_as_the_models_training_songs_were(tmp_path: Path) -> None:
    archive = archive_file(tmp_path / "v.npz", 1, bars=1)
    checkpoint.save(random_model(ROTARY), tmp_path / "model", training={"corpus": {"snap_tempo": False}})
    assert evaluate(archive, tmp_path / "model", bf16=False).settings["snap_tempo"] is False


def command(*arguments: object) -> int:
    return root.main(["evaluate", *map(str, arguments)])


@pytest.mark.slow
def test_command_writes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, train = archive_file(tmp_path / "v.npz", 3, bars=2), archive_file(tmp_path / "t.npz", 3, bars=2)
    folder, out = model_folder(tmp_path / "model"), tmp_path / "new" / "out"
    measured = ("--archive", archive, "-o", out, "--model", folder, "--songs", 2, "--ngrams", train, "-q")
    assert command(*measured, "--plot", tmp_path / "bits.svg") == 0
    said = capsys.readouterr()
    values: dict[str, Any] = json.loads((out / "evaluation.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == ["evaluation.json", "evaluation.md"]
    assert f"{values['bits_per_note']:.3f} bits per note" in said.out
    assert "bits per note: trigram, Kneser–Ney" in said.out
    assert said.err == ""
    assert said.out.endswith(f"Drew {tmp_path / 'bits.svg'}.\n")
    drawn = (tmp_path / "bits.svg").read_text(encoding="utf-8")
    for row in ("with conditions", "without conditions", "trigram, Kneser–Ney"):
        assert f"<!-- {row} -->" in drawn
    page = (out / "evaluation.md").read_text(encoding="utf-8")
    assert f"| the model | {values['bits_per_note']:.3f} | {values['bits_per_event']:.3f} |" in page
    assert f"| the model, without conditions | {values['unconditioned_bits_per_note']:.3f} |" in page
    assert "| trigram, Kneser–Ney |" in page
    assert "| CHORD | 2 |" in page
    assert "2 songs of `v.npz`" in page


@pytest.mark.slow
def test_command_shows_progress_and_writes_again_only_with_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, folder = archive_file(tmp_path / "v.npz", 1, bars=1), model_folder(tmp_path / "model")
    arguments = ("--archive", archive, "-o", tmp_path / "out", "--model", folder)
    assert command(*arguments) == 0
    assert "without conditions: 100%" in capsys.readouterr().err
    (tmp_path / "out" / "evaluation.md").unlink()
    assert command(*arguments) == 2
    assert "evaluation.json exists already; give --overwrite" in capsys.readouterr().err
    assert command(*arguments, "--overwrite", "--sample", 3, "--songs", 1) == 0
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["settings"]["sample"] == 3


def truncated(tmp_path: Path) -> list[object]:
    path = archive_file(tmp_path / "cut.npz", 2)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return ["--archive", path]


def other_schema(tmp_path: Path) -> list[object]:
    np.savez(tmp_path / "other.npz", pianoroll=np.zeros(4))
    return ["--archive", tmp_path / "other.npz"]


def no_songs(tmp_path: Path) -> list[object]:
    return ["--archive", archive_file(tmp_path / "none.npz", 0)]


def empty_model(tmp_path: Path) -> list[object]:
    (tmp_path / "empty").mkdir()
    return ["--model", tmp_path / "empty"]


def other_vocabulary(tmp_path: Path) -> list[object]:
    folder = model_folder(tmp_path / "foreign")
    (folder / "vocabulary.json").write_text(json.dumps({"events": ["A", "B"]}))
    return ["--model", folder]


def output_is_a_file(tmp_path: Path) -> list[object]:
    (tmp_path / "file").write_text("mine")
    return ["-o", tmp_path / "file"]


def ngrams_of_the_same(tmp_path: Path) -> list[object]:
    return ["--ngrams", tmp_path / "v.npz"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda path: ["--archive", path / "nowhere.npz"], "nowhere.npz is not a file; give an archive"),
        (truncated, "cut.npz cannot be read as an archive"),
        (other_schema, "other.npz lacks family"),
        (no_songs, "the archive holds no songs"),
        (lambda path: ["--model", path / "nowhere"], "nowhere is not a model folder; give the folder"),
        (empty_model, "empty has no config.json; copy the whole model folder"),
        (other_vocabulary, "speaks another vocabulary"),
        (lambda _: ["--songs", 0], "0 is not in the range x>=1"),
        (lambda _: ["--batch", "many"], "'many' is not a valid integer"),
        (output_is_a_file, "file is a file; give a folder"),
        (ngrams_of_the_same, "v.npz is the archive that is measured; count the n-grams on a training archive"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, sentence: str
) -> None:
    archive, folder = archive_file(tmp_path / "v.npz", 1, bars=1), model_folder(tmp_path / "model")
    changed = change(tmp_path)
    before = sorted(tmp_path.iterdir())
    arguments = ["--archive", archive, "-o", tmp_path / "out", "--model", folder, *changed]
    assert command(*arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert sentence in said[0]
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, *_: Path(path).name != "locked")  # as for any user but root
    with pytest.raises(OutputError, match="locked cannot be written to; choose another folder"):
        report_page.check_output(tmp_path / "locked" / "out")


def test_a_failed_write_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, folder = archive_file(tmp_path / "v.npz", 1, bars=1), model_folder(tmp_path / "model")
    result = evaluate(archive, folder, bf16=False)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=r"could not be written \(No space left on device"):
        write(result, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]


def test_an_archive_with_false_claims_is_refused(tmp_path: Path) -> None:
    arrays = dict(toy_archive(1).arrays)
    arrays["pitch"] = arrays["pitch"] + np.uint8(100)
    np.savez(tmp_path / "odd.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(CorpusError, match=r"pitch \d+ of .* is outside"):
        evaluate(tmp_path / "odd.npz", model_folder(tmp_path / "model"))
