"""The event vocabulary as a miditok tokenizer, for miditok's datasets, collators and splitters.

Conventions
- Ids are those of `emsync.vocabulary`. Only the names are spelled differently, see `event_sequence`.
- A piece is one stream (`tokenizer.one_token_stream`) that has its own START and END, so give `DatasetMIDI` no BOS or
  EOS.
- An `EventSequence` has velocities beside its ids. Ids alone are decoded with the velocities of the paper.
- Times of miditok's `Event` and ticks of bars and beats are in steps of 8 ms.

This module needs miditok and symusic: pip install "emsync[train]".
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from emsync import midi
from emsync import vocabulary as v
from emsync.errors import InputError, MissingExtraError, ModelError, OutputError
from emsync.files import read_limited, write_bytes
from emsync.interop import from_symusic
from emsync.score import DENOMINATORS, Score
from emsync.tokenizer import events

try:
    from miditok import Event, MusicTokenizer, TokenizerConfig, TokSequence
    from symusic.core import ScoreQuarter, ScoreSecond, ScoreTick

    from emsync.tokenizer.event_sequence import SPECIAL, TOKENS, EventSequence, sequence, types_graph, wrong_events
except ImportError as error:
    raise MissingExtraError(
        'EventTokenizer needs miditok, which is not installed: pip install "emsync[train]"'
    ) from error

SymusicScore: TypeAlias = ScoreTick | ScoreQuarter | ScoreSecond

FILE_NAME: Final = "tokenizer.json"
_MAX_JSON_BYTES: Final = 256 * 2**20
_HASH_KEY: Final = "emsync_vocabulary"
#: How `miditok.utils.split_files_for_training` marks the pieces it cuts a file into: "miditok: chunk 0/3".
_CHUNK_MARKER: Final = "miditok: chunk "


class EventTokenizer(MusicTokenizer):  # type: ignore[misc] # miditok has no types
    """emsync's events with miditok's interface.

        tokenizer = EventTokenizer()
        tokens = tokenizer("song.mid")      # or a symusic.Score, or an emsync Score: an EventSequence
        score = tokenizer(tokens)           # or tokenizer.decode(ids): a symusic.Score
        tokenizer.save_pretrained("folder") # EventTokenizer.from_pretrained("folder")

    `DatasetMIDI`, `DatasetJSON`, `DataCollator(tokenizer.pad_token_id)`, `split_files_for_training`,
    `tokenize_dataset`, `save_tokens`, `load_tokens` and `tokens_errors` work as with miditok's own tokenizers. Of a
    file cut by `split_files_for_training` only the first part has START, and only the last has END.

    The vocabulary is fixed, since models are trained on it and the composer's grammar needs single events. These raise
    `InputError`: another `TokenizerConfig`, learned vocabularies (BPE, Unigram, WordPiece: `train`), further tokens
    (`add_to_vocab`) and attribute controls. `preprocess_score` does nothing, since encoding reduces any Score to the
    five families.
    """

    def __init__(self, tokenizer_config: TokenizerConfig | None = None, params: str | Path | None = None) -> None:
        self._is_fixed = False
        super().__init__(tokenizer_config, params)
        self.time_division = midi.TICKS_PER_QUARTER
        self._is_fixed = True
        # Ids must be those of the table; anything else is a bug.
        assert [self[i] for i in range(len(self))] == list(TOKENS)

    # -- what miditok asks of a tokenizer

    config: TokenizerConfig

    def _tweak_config_before_creating_voc(self) -> None:
        given, fixed = self.config, _config()
        if given != TokenizerConfig() and given != fixed:
            raise InputError("EventTokenizer's vocabulary is fixed; leave the TokenizerConfig out")
        self.config = fixed

    def _create_base_vocabulary(self) -> list[str]:
        return list(TOKENS[len(SPECIAL) :])

    def _create_token_types_graph(self) -> dict[str, set[str]]:
        return types_graph()

    def _add_special_tokens_to_types_graph(self) -> None:
        """Do nothing: the graph has them already."""

    def _add_time_events(self, events: list[Event], time_division: int) -> list[Event]:
        """Return the same events: they have their TIMESHIFTs already."""
        return events

    def _score_to_tokens(
        self, score: SymusicScore, attribute_controls_indexes: Mapping[int, Any] | None = None
    ) -> EventSequence:
        return self.encode(score, attribute_controls_indexes=attribute_controls_indexes)

    def _tokens_to_score(
        self, tokens: TokSequence | Sequence[TokSequence], programs: list[tuple[int, bool]] | None = None
    ) -> ScoreTick:
        return self.decode(tokens, programs)

    # -- there and back

    def __call__(self, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A MIDI file, symusic.Score or Score to an `EventSequence`; anything else (and .json) to a symusic.Score."""
        if isinstance(obj, (str, os.PathLike)):
            if Path(obj).suffix.lower() == ".json":
                return self.decode(self.load_tokens(obj), *args, **kwargs)
            return self.encode(obj, *args, **kwargs)
        if isinstance(obj, (Score, ScoreTick, ScoreQuarter, ScoreSecond)):
            return self.encode(obj, *args, **kwargs)
        return self.decode(obj, *args, **kwargs)

    def preprocess_score(self, score: SymusicScore) -> SymusicScore:
        """Return a copy of the score; nothing needs to be prepared."""
        return score.copy()

    def encode(
        self,
        score: str | os.PathLike[str] | SymusicScore | Score,
        encode_ids: bool = True,
        no_preprocess_score: bool = False,
        attribute_controls_indexes: Mapping[int, Any] | None = None,
    ) -> EventSequence:
        """A MIDI file's path, a symusic.Score or an emsync Score to its events, by `events.encode`.

        `encode_ids` and `no_preprocess_score` are part of miditok's interface and have no effect.
        Raises `MidiError` for a file that cannot be read, `InputError` for attribute controls.
        """
        if attribute_controls_indexes:
            _refuse("attribute controls", "condition the composer by its lanes instead")
        if isinstance(score, (str, os.PathLike)):
            score = midi.read(score)
        elif not isinstance(score, Score):
            score = from_symusic(score)
        coded = events.encode(score)
        ids, velocities = coded.ids, coded.velocities
        part, last_part = _chunk(score)
        keep = np.ones(len(ids), dtype=bool)
        if part > 0:
            keep &= ids != v.START
        if part < last_part:
            keep &= ids != v.END
        return sequence(ids[keep], velocities[keep])

    def decode(
        self,
        tokens: Any,
        programs: list[tuple[int, bool]] | None = None,
        output_path: str | os.PathLike[str] | None = None,
    ) -> ScoreTick:
        """Decode events to a symusic.Score of five tracks.

        - tokens: an `EventSequence`, whose velocities are used; a `TokSequence`; ids (T,) as a list, array or tensor;
          or a list of token names.
        - programs: part of miditok's interface, without effect.
        - output_path: also write a MIDI file there.

        Raises `InputError` for ids and tokens that are not in the vocabulary.
        """
        ids, velocities = self._ids_of(tokens)
        score = events.decode(ids, velocities)
        if output_path is not None:
            midi.write(score, output_path)
        return ScoreTick.from_midi(midi.to_bytes(score))

    def _ids_of(self, tokens: Any) -> tuple[npt.NDArray[np.int64], list[int] | None]:
        """Ids (T,) and, if there are any, velocities."""
        velocities = None
        if isinstance(tokens, TokSequence):
            if len(tokens.ids) == 0 and len(tokens) > 0:
                self.complete_sequence(tokens)
            velocities = getattr(tokens, "velocities", None)
            tokens = tokens.ids
            if velocities is not None and len(velocities) != len(tokens):
                velocities = None  # others removed or added ids, as DatasetMIDI does
        if isinstance(tokens, (list, tuple)) and tokens and all(isinstance(token, str) for token in tokens):
            tokens = self._tokens_to_ids(tokens)
        return np.asarray(tokens), velocities

    def _tokens_to_ids(self, tokens: Sequence[str]) -> list[int]:
        unknown = [token for token in tokens if token not in self.vocab]
        if unknown:
            raise InputError(f"token {unknown[0]!r} is not in the vocabulary; see `tokenizer.vocab` for those that are")
        return [self.vocab[token] for token in tokens]

    # -- tokens on disk

    def save_tokens(
        self, tokens: Any, path: str | os.PathLike[str], programs: list[tuple[int, bool]] | None = None, **kwargs: Any
    ) -> None:
        """Write a JSON file of `ids`, of `velocities` if there are any, and of all other keyword arguments."""
        ids, velocities = self._ids_of(tokens)
        content: dict[str, Any] = {"ids": ids.tolist(), "ids_encoded": False}
        if velocities:
            content["velocities"] = [int(velocity) for velocity in velocities]
        if programs is not None:
            content["programs"] = programs
        write_bytes(path, json.dumps({**content, **kwargs}).encode())

    def load_tokens(self, path: str | os.PathLike[str], raw: bool = False) -> EventSequence | dict[str, Any]:
        """Read a file of `save_tokens` as an `EventSequence`; with `raw`, return all that it holds."""
        content = _read_json(path)
        if raw:
            return content
        ids = content.get("ids")
        if not isinstance(ids, list):
            raise InputError(f"{path} has no list of ids; was it written by save_tokens?")
        return EventSequence(ids=ids, velocities=content.get("velocities", []))

    # -- the tokenizer on disk

    def to_dict(self) -> dict[str, Any]:
        """The content of `save`: miditok's settings and the hash of the vocabulary."""
        return {**super().to_dict(), _HASH_KEY: v.HASH}

    def save(
        self,
        out_path: str | os.PathLike[str],
        additional_attributes: dict[str, Any] | None = None,
        filename: str | None = FILE_NAME,
    ) -> None:
        """Write a JSON file: `out_path`, or `filename` in it if it is a folder or has no suffix."""
        path = Path(out_path)
        if path.is_dir() or "." not in path.name:
            path /= filename or FILE_NAME
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path.parent} cannot be made ({error.strerror}); choose another folder") from error
        write_bytes(path, json.dumps({**self.to_dict(), **(additional_attributes or {})}, indent=4).encode())

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *, filename: str = FILE_NAME, **_: Any
    ) -> EventTokenizer:
        """Read what `save_pretrained` wrote, from a local folder or file. Nothing is downloaded.

        Raises `ModelError` if it does not exist, or has another vocabulary.
        """
        path = Path(pretrained_model_name_or_path)
        path = path / filename if path.is_dir() else path
        if not path.is_file():
            raise ModelError(f"{path} does not exist; give a folder that EventTokenizer.save_pretrained wrote")
        return cls(params=path)

    def _load_from_json(self, file_path: str | os.PathLike[str]) -> None:
        content = _read_json(file_path)
        if content.get("tokenization") != type(self).__name__:
            raise ModelError(
                f"{file_path} holds a {content.get('tokenization')} tokenizer; give a file that EventTokenizer wrote"
            )
        if content.get(_HASH_KEY) != v.HASH:
            raise ModelError(
                f"{file_path} was written with vocabulary {content.get(_HASH_KEY)}, this is {v.HASH}; "
                "install the version of emsync that wrote it"
            )
        self.config = _config()

    # -- what is not supported

    def train(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: the composer's grammar reads single events."""
        _refuse("a learned vocabulary (BPE, Unigram, WordPiece)", "train a model on single events")

    def add_attribute_control(self, attribute_control: Any) -> NoReturn:
        """Refused: the composer's lanes are the controls."""
        _refuse("attribute controls", "condition the composer by its lanes instead")

    def add_to_vocab(self, token: Any, *args: Any, **kwargs: Any) -> None:
        """Refused once the tokenizer is made."""
        if self._is_fixed:
            _refuse(f"the token {token}", "the composer would not know it")
        super().add_to_vocab(token, *args, **kwargs)

    # -- errors in what a model wrote

    def _tokens_errors(self, tokens: list[str]) -> int:
        """How many events are not allowed where they are; see `tokens_errors` of miditok.

        `event_sequence.wrong_events` says which ones those are.
        """
        return wrong_events(self._tokens_to_ids(tokens), self.tokens_types_graph)


def _config() -> TokenizerConfig:
    """The settings that describe our events to miditok's tools."""
    return TokenizerConfig(
        pitch_range=(21, 109),
        drums_pitch_range=(27, 88),
        num_velocities=v.VELOCITY_LEVELS,
        special_tokens=list(SPECIAL),
        encode_ids_split="no",
        use_programs=True,
        one_token_stream_for_programs=True,
        use_time_signatures=True,
        # miditok's splitter turns all other meters into 4/4.
        time_signature_range=dict.fromkeys(DENOMINATORS, (1, 32)),
    )


def _chunk(score: Score) -> tuple[int, int]:
    """The number of this part of a file and that of the last part; (0, 0) for a whole file."""
    for marker in score.markers:
        if marker.time_s == 0 and marker.text.startswith(_CHUNK_MARKER):
            part, _, last = marker.text.removeprefix(_CHUNK_MARKER).partition("/")
            if part.isdecimal() and last.isdecimal():
                return int(part), int(last)
    return 0, 0


def _read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        content = json.loads(read_limited(path, _MAX_JSON_BYTES, "tokenizer's file", ModelError))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON ({error}); was it written by this tokenizer?") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object; was it written by this tokenizer?")
    return content


def _refuse(what: str, instead: str) -> NoReturn:
    raise InputError(f"EventTokenizer's vocabulary is fixed and has no room for {what}; {instead}")
