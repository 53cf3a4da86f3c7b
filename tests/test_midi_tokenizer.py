"""The miditok face: the same ids as `encode`, and miditok's own tools at work on them."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import symusic
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from miditok import REMI, TokenizerConfig, TokSequence
from miditok.pytorch_data import DataCollator, DatasetJSON, DatasetMIDI
from miditok.utils import split_files_for_training

from emsync import midi
from emsync import vocabulary as v
from emsync.errors import InputError, MidiError, MissingExtraError, ModelError, OutputError
from emsync.interop import from_symusic
from emsync.score import Bars, Instrument, Marker, Score, TempoMap
from emsync.tokenizer import EventSequence, EventTokenizer, encode

BAND = (Instrument("Kit", 0, True), Instrument("Organ", 19), Instrument("Fiddle", 40), Instrument("Upright", 32))


@pytest.fixture(scope="module")
def tokenizer() -> EventTokenizer:
    return EventTokenizer()


def song(bars: int = 4, *, markers: tuple[Marker, ...] = ()) -> Score:
    """Bars of 4/4 at 100: a kick on every beat, a chord in every bar, and a tune."""
    beat_s = 0.6
    rows = []
    for bar in range(bars):
        at = 4 * bar * beat_s
        rows += [(0, 36, 100, at + k * beat_s, at + k * beat_s + 0.1) for k in range(4)]
        rows += [(1, pitch, 60 + 2 * bar, at, at + 4 * beat_s) for pitch in (48, 52, 55)]
        rows += [(2, 72 + k, 90, at + k * beat_s, at + (k + 1) * beat_s) for k in range(4)]
        rows += [(3, 36, 70, at, at + 2 * beat_s)]
    starts = [4 * beat_s * bar for bar in range(bars)]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return Score(BAND, *columns, TempoMap.constant(100.0), Bars(starts, [4] * bars, [4] * bars), markers=markers)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    midi.write(song(), tmp_path / "song.mid")
    return tmp_path / "song.mid"


# -- the vocabulary


def test_the_vocabulary_is_the_table(tokenizer: EventTokenizer) -> None:
    assert len(tokenizer) == tokenizer.vocab_size == v.SIZE
    assert sorted(tokenizer.vocab.values()) == list(range(v.SIZE))
    assert (tokenizer["PAD_None"], tokenizer["START_None"], tokenizer["END_None"]) == (v.PAD, v.START, v.END)
    assert tokenizer.pad_token_id == v.PAD
    assert tokenizer["ON-PIANO_60"] == v.ID_OF["ON_PIANO_60"]
    assert tokenizer[v.ID_OF["BAR_3.5"]] == "BAR_3.5"
    assert tokenizer[v.MORE] == "MORE-INSTRUMENTS_None"
    assert tokenizer.one_token_stream
    assert not tokenizer.is_trained


def test_tokens_are_a_type_and_a_value(tokenizer: EventTokenizer) -> None:
    assert all(token.count("_") == 1 for token in tokenizer.vocab)
    assert tokenizer.token_id_type(v.ID_OF["OFF_BASS_40"]) == "OFF-BASS"
    assert tokenizer.token_ids_of_type("ON-DRUMS") == [e.id for e in v.EVENTS if e.kind == v.K_ON and e.family == 0]
    assert tokenizer.token_ids_of_type("TIMESHIFT") == list(range(v.SIZE))[v.ids_of_kind(v.K_TIMESHIFT)]


def test_every_type_is_in_the_graph(tokenizer: EventTokenizer) -> None:
    types = {token.split("_")[0] for token in tokenizer.vocab}
    assert set(tokenizer.tokens_types_graph) == types
    assert set().union(*tokenizer.tokens_types_graph.values()) <= types


# -- there and back


def test_a_path_gives_what_encode_gives(tokenizer: EventTokenizer, path: Path) -> None:
    coded = encode(midi.read(path))
    for given_ in (path, str(path)):
        tokens = tokenizer(given_)
        assert isinstance(tokens, EventSequence)
        assert tokens.ids == coded.ids.tolist()
        assert tokens.velocities == coded.velocities.tolist()
    assert tokens.tokens == [tokenizer[i] for i in tokens.ids]
    assert [str(event) for event in tokens.events] == tokens.tokens
    assert tokenizer.encode(path).ids == tokens.ids


@pytest.mark.parametrize("unit", ["tick", "quarter", "second"])
def test_a_symusic_score_gives_the_same(tokenizer: EventTokenizer, path: Path, unit: str) -> None:
    score = symusic.Score(path)
    tokens = tokenizer(score if unit == "tick" else score.to(unit))
    assert tokens.ids == tokenizer(path).ids
    assert tokens.velocities == tokenizer(path).velocities


def test_an_emsync_score_gives_the_same(tokenizer: EventTokenizer, path: Path) -> None:
    assert tokenizer(midi.read(path)).ids == tokenizer(path).ids


def test_decoding_gives_a_symusic_score(tokenizer: EventTokenizer) -> None:
    tokens = tokenizer(song())
    score = tokenizer(tokens)
    assert [(track.name, track.program, track.is_drum) for track in score.tracks if len(track.notes)] == [
        ("Drums", 0, True),
        ("Piano", 0, False),
        ("Bass", 33, False),
        ("Strings", 48, False),
    ]
    assert score.note_num() == len(song())
    assert score.ticks_per_quarter == tokenizer.time_division
    assert tokenizer(score).ids == tokens.ids
    assert tokenizer(score).velocities == tokens.velocities


@pytest.mark.parametrize("kind", ["list", "array", "tensor", "int32", "tokens", "TokSequence", "events only"])
def test_ids_of_any_kind_are_decoded(tokenizer: EventTokenizer, kind: str) -> None:
    tokens = tokenizer(song())
    given_ = {
        "list": tokens.ids,
        "array": np.array(tokens.ids),
        "tensor": torch.tensor(tokens.ids),
        "int32": np.array(tokens.ids, dtype=np.int32),
        "tokens": tokens.tokens,
        "TokSequence": TokSequence(ids=tokens.ids),
        "events only": TokSequence(events=tokens.events),
    }[kind]
    score = tokenizer.decode(given_)
    assert tokenizer(score).ids == tokens.ids
    assert {note.velocity for track in score.tracks for note in track.notes} <= {80, 120}


def test_decoding_writes_a_file(tokenizer: EventTokenizer, tmp_path: Path) -> None:
    tokens = tokenizer(song())
    tokenizer.decode(tokens, output_path=tmp_path / "out.mid")
    assert tokenizer(tmp_path / "out.mid").ids == tokens.ids
    with pytest.raises(OutputError, match="is not a folder"):
        tokenizer.decode(tokens, output_path=tmp_path / "no" / "out.mid")


def test_padding_is_passed_over(tokenizer: EventTokenizer) -> None:
    ids = tokenizer(song()).ids
    assert tokenizer(tokenizer.decode(ids + [v.PAD] * 9)).ids == ids


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ([1, 912], r"event ids\[1\] is 912, outside 0 to 911"),
        (["START_None", "Pitch_60"], "token 'Pitch_60' is not in the vocabulary"),
        ([[1, 2], [3, 4]], r"one row of numbers, not an array of shape \(2, 2\)"),
    ],
)
def test_what_cannot_be_decoded(tokenizer: EventTokenizer, given_: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokenizer.decode(given_)


def test_a_broken_file_is_refused(tokenizer: EventTokenizer, tmp_path: Path) -> None:
    (tmp_path / "broken.mid").write_bytes(b"not a MIDI file at all")
    with pytest.raises(MidiError, match=r"broken\.mid is not a MIDI file"):
        tokenizer(tmp_path / "broken.mid")
    with pytest.raises(MidiError, match=r"missing\.mid cannot be read"):
        tokenizer(tmp_path / "missing.mid")


# -- symusic's scores


NOTES = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 2000), st.integers(0, 127), st.integers(0, 127)), max_size=20
)


@given(st.lists(st.tuples(st.integers(0, 127), st.booleans(), NOTES), max_size=4), st.integers(24, 960))
@settings(max_examples=50)
def test_symusic_scores_keep_their_notes(
    tracks: list[tuple[int, bool, list[tuple[int, int, int, int]]]], ticks: int
) -> None:
    score = symusic.Score(ticks)
    score.tempos.append(symusic.Tempo(time=0, qpm=90))
    score.tempos.append(symusic.Tempo(time=3 * ticks, qpm=150))
    for program, is_drum, notes in tracks:
        track = symusic.Track(name="t", program=program, is_drum=is_drum)
        for note in notes:
            track.notes.append(symusic.Note(*note))
        score.tracks.append(track)
    result = from_symusic(score)

    def seconds(tick: int) -> float:
        quarters = tick / ticks
        return quarters / 1.5 if quarters < 3 else 2 + (quarters - 3) / 2.5

    expected = sorted(
        (seconds(start), seconds(start + max(length, 1)), who, pitch, velocity)
        for who, (_, _, notes) in enumerate(tracks)
        for start, length, pitch, velocity in notes
        if velocity
    )
    rows = sorted(zip(result.start_s, result.end_s, result.instrument, result.pitch, result.velocity, strict=True))
    assert len(rows) == len(expected)
    assert np.allclose(np.array(rows), np.array(expected), atol=1e-5)
    assert [(each.program, each.is_drum) for each in result.instruments] == [(p, d) for p, d, _ in tracks]


def test_symusic_scores_keep_bars_keys_and_markers() -> None:
    score = symusic.Score(480)
    score.time_signatures.append(symusic.TimeSignature(0, 3, 4))
    score.time_signatures.append(symusic.TimeSignature(1440, 7, 8))
    score.key_signatures.append(symusic.KeySignature(0, -1, 1))
    score.markers.append(symusic.TextMeta(480, "Cut 1"))
    score.tracks.append(symusic.Track(name="Tuba", program=58, is_drum=False))
    score.tracks[0].notes.append(symusic.Note(0, 4000, 40, 80))
    result = from_symusic(score)
    assert result.bars.start_s.tolist() == [0.0, 1.5, 3.25]
    assert result.bars.quarters.tolist() == [3.0, 3.5, 3.5]
    assert result.markers == (Marker(0.5, "Cut 1"),)
    assert [(key.tonic, key.is_minor) for key in result.keys] == [(2, True)]
    assert result.instruments == (Instrument("Tuba", 58, False),)
    assert score.tracks[0].name == "Tuba", "the given score is left alone"


def test_a_symusic_score_without_notes(tokenizer: EventTokenizer) -> None:
    assert tokenizer(symusic.Score(480)).tokens == [
        "FEWER-INSTRUMENTS_None",
        "START_None",
        "BAR_4",
        "END_None",
    ]
    assert tokenizer.decode(tokenizer(symusic.Score(480))).note_num() == 0


# -- sequences


def test_sequences_are_cut_and_joined_with_their_velocities(tokenizer: EventTokenizer) -> None:
    tokens = tokenizer(song())
    head, tail = tokens[:20], tokens[20:]
    assert isinstance(head, EventSequence)
    assert head.velocities == tokens.velocities[:20]
    assert (head + tail).ids == tokens.ids
    assert (head + tail).velocities == tokens.velocities
    assert (head + TokSequence(ids=[v.END])).velocities == [*tokens.velocities[:20], 0]
    assert tokens[3] == tokens.ids[3]
    assert sum([tail], head) == tokens


def test_sequences_are_cut_at_bars_and_beats(tokenizer: EventTokenizer) -> None:
    tokens = tokenizer(song(bars=4))
    bars = tokens.split_per_bars()
    assert len(bars) == 4
    assert [bar.tokens.count("BAR_4") for bar in bars] == [1, 1, 1, 1]
    assert [i for bar in bars for i in bar.ids] == tokens.ids
    beats = tokens.split_per_beats()
    assert len(beats) == 16
    assert all(beat.tokens.count("ON-DRUMS_36") == 1 for beat in beats)


def test_sequences_on_disk(tokenizer: EventTokenizer, tmp_path: Path) -> None:
    tokens = tokenizer(song())
    tokenizer.save_tokens(tokens, tmp_path / "tokens.json", note="hello")
    loaded = tokenizer.load_tokens(tmp_path / "tokens.json")
    assert loaded.ids == tokens.ids
    assert loaded.velocities == tokens.velocities
    assert tokenizer.load_tokens(tmp_path / "tokens.json", raw=True)["note"] == "hello"
    assert tokenizer(tokenizer(tmp_path / "tokens.json")).ids == tokens.ids
    tokenizer.save_tokens(np.array(tokens.ids), tmp_path / "bare.json")
    assert tokenizer.load_tokens(tmp_path / "bare.json").velocities == []
    assert json.loads((tmp_path / "bare.json").read_text())["ids"] == tokens.ids


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", ModelError, "is not JSON"),
        ("[1, 2]", ModelError, "holds no JSON object"),
        ("{}", InputError, "has no list of ids; was it written by save_tokens"),
        (None, ModelError, "cannot be read"),
    ],
)
def test_token_files_that_are_none(
    tokenizer: EventTokenizer, tmp_path: Path, text: str | None, error: type[Exception], message: str
) -> None:
    if text is not None:
        (tmp_path / "tokens.json").write_text(text)
    with pytest.raises(error, match=message):
        tokenizer.load_tokens(tmp_path / "tokens.json")


# -- the tokenizer on disk


def test_saved_and_loaded(tokenizer: EventTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "folder")
    assert [each.name for each in (tmp_path / "folder").iterdir()] == ["tokenizer.json"]
    loaded = EventTokenizer.from_pretrained(tmp_path / "folder")
    assert loaded == tokenizer
    assert loaded.vocab == tokenizer.vocab
    assert EventTokenizer.from_pretrained(str(tmp_path / "folder" / "tokenizer.json")) == tokenizer
    assert EventTokenizer(params=tmp_path / "folder" / "tokenizer.json") == tokenizer
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer


def test_saved_under_another_name(tokenizer: EventTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "mine.json", {"note": "hello"})
    assert json.loads((tmp_path / "mine.json").read_text())["note"] == "hello"
    with pytest.warns(UserWarning, match="renamed `save`"):
        tokenizer.save_params(tmp_path / "old" / "params.json")
    assert EventTokenizer(params=tmp_path / "old" / "params.json") == tokenizer


def test_a_folder_that_cannot_be_made(tokenizer: EventTokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        tokenizer.save(tmp_path / "file" / "folder" / "tokenizer.json")


def test_nothing_is_downloaded(tmp_path: Path) -> None:
    for name in (tmp_path / "nowhere", "someone/some-tokenizer"):
        with pytest.raises(
            ModelError, match=r"does not exist; give a folder that EventTokenizer.save_pretrained wrote"
        ):
            EventTokenizer.from_pretrained(name)
    with pytest.raises(ModelError, match=r"tokenizer\.json does not exist"):
        EventTokenizer.from_pretrained(tmp_path)


def test_another_vocabulary_is_refused(tokenizer: EventTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json", {"emsync_vocabulary": "0123456789abcdef"})
    with pytest.raises(ModelError, match=f"was written with vocabulary 0123456789abcdef, this is {v.HASH}"):
        EventTokenizer.from_pretrained(tmp_path)
    REMI().save(tmp_path / "remi.json")
    with pytest.raises(ModelError, match="holds a REMI tokenizer"):
        EventTokenizer(params=tmp_path / "remi.json")
    (tmp_path / "cut.json").write_text('{"config":')
    with pytest.raises(ModelError, match="is not JSON"):
        EventTokenizer(params=tmp_path / "cut.json")


# -- what makes no sense


def test_the_vocabulary_cannot_be_changed(tokenizer: EventTokenizer, path: Path) -> None:
    with pytest.raises(InputError, match="no room for a learned vocabulary"):
        tokenizer.train(vocab_size=2000, files_paths=[path])
    with pytest.raises(InputError, match="no room for the token Hello_1"):
        tokenizer.add_to_vocab("Hello_1")
    with pytest.raises(InputError, match="no room for attribute controls"):
        tokenizer.add_attribute_control(None)
    with pytest.raises(InputError, match="no room for attribute controls"):
        tokenizer.encode(path, attribute_controls_indexes={0: {0: True}})
    with pytest.raises(InputError, match="leave the TokenizerConfig out"):
        EventTokenizer(TokenizerConfig(num_velocities=7))
    assert len(tokenizer) == v.SIZE


def test_without_miditok_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "emsync.tokenizer.midi_tokenizer")
    monkeypatch.setitem(sys.modules, "miditok", None)
    with pytest.raises(MissingExtraError, match=r'pip install "emsync\[train\]"'):
        importlib.import_module("emsync.tokenizer.midi_tokenizer")


# -- judging


def test_what_was_encoded_has_no_errors(tokenizer: EventTokenizer) -> None:
    assert tokenizer.tokens_errors(tokenizer(song())) == 0
    assert tokenizer.tokens_errors(tokenizer(song()).ids) == 0


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (["ON_PIANO_60", "TIMESHIFT_80", "ON_PIANO_60"], 1),
        (["ON_PIANO_60", "ON_PIANO_60"], 1),
        (["TIMESHIFT_80", "OFF_PIANO_60"], 1),
        (["ON_DRUMS_36", "ON_DRUMS_36"], 1),
        (["ON_DRUMS_36", "TIMESHIFT_80", "ON_DRUMS_36"], 0),
        (["ON_PIANO_60", "ON_BASS_40"], 1),
        (["ON_BASS_40", "ON_PIANO_60", "OFF_PIANO_60"], 0),
        (["BAR_4", "START", "END", "ON_BASS_40"], 2),
        (["CHORD", "TIMESHIFT_80"], 1),
    ],
)
def test_errors_are_counted(tokenizer: EventTokenizer, names: list[str], count: int) -> None:
    ids = [v.ID_OF[name] for name in names]
    assert tokenizer.tokens_errors(ids) == pytest.approx(count / len(names))


# -- miditok's data sets


@pytest.mark.parametrize("pre_tokenize", [False, True])
def test_a_dataset_and_its_collator(tokenizer: EventTokenizer, tmp_path: Path, pre_tokenize: bool) -> None:
    paths = []
    for bars in (2, 5):
        paths.append(tmp_path / f"{bars}.mid")
        midi.write(song(bars), paths[-1])
    dataset = DatasetMIDI(paths, tokenizer, max_seq_len=5000, pre_tokenize=pre_tokenize, parallel_workers_size=1)
    assert len(dataset) == 2
    assert [row["input_ids"].tolist() for row in dataset] == [tokenizer(each).ids for each in paths]
    batch = next(iter(torch.utils.data.DataLoader(dataset, 2, collate_fn=DataCollator(tokenizer.pad_token_id))))
    assert batch["input_ids"].shape == (2, len(tokenizer(paths[1]).ids))
    assert (batch["input_ids"][0, len(tokenizer(paths[0]).ids) :] == v.PAD).all()
    assert batch["attention_mask"].sum(1).tolist() == [len(tokenizer(each).ids) for each in paths]


def test_a_dataset_cuts_what_is_too_long(tokenizer: EventTokenizer, path: Path) -> None:
    dataset = DatasetMIDI([path], tokenizer, max_seq_len=30)
    assert dataset[0]["input_ids"].tolist() == tokenizer(path).ids[:30]


def test_files_tokenized_to_json(tokenizer: EventTokenizer, path: Path, tmp_path: Path) -> None:
    tokenizer.tokenize_dataset([path], tmp_path / "tokens", verbose=False, parallel_workers_size=1)
    found = list((tmp_path / "tokens").rglob("*.json"))
    assert len(found) == 1
    assert tokenizer.load_tokens(found[0]).ids == tokenizer(path).ids
    dataset = DatasetJSON(found, max_seq_len=5000)
    assert dataset[0]["input_ids"].tolist() == tokenizer(path).ids


def test_files_split_for_training(tokenizer: EventTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "in" / "long.mid"
    path.parent.mkdir()
    midi.write(song(16), path)
    parts = split_files_for_training(
        [path], tokenizer, tmp_path / "out", max_seq_len=120, num_overlap_bars=0, min_seq_len=1
    )
    assert len(parts) >= 3
    dataset = DatasetMIDI(sorted(parts, key=lambda part: int(part.stem.split("_")[-1])), tokenizer, max_seq_len=10_000)
    rows = [row["input_ids"].tolist() for row in dataset]
    assert [v.START in row for row in rows] == [True] + [False] * (len(rows) - 1)
    assert [v.END in row for row in rows] == [False] * (len(rows) - 1) + [True]
    count = [sum(v.KIND[i] == v.K_ON for i in row) for row in rows]
    assert sum(count) == len(song(16)), "every note is in one part"
    assert all(row[0] == v.MORE for row in rows)
