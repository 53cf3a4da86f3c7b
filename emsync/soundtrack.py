"""The whole way: from a video, or a length and a list of cuts, to a Score, a MIDI file and a record of its making."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from emsync import __version__, checkpoint, cutlist
from emsync import vocabulary as v
from emsync.errors import InputError, ModelError
from emsync.files import check_writable, write_bytes
from emsync.finish import finish
from emsync.hits import Hit, land, measure
from emsync.mood import MoodCurve
from emsync.score import Marker, Score
from emsync.video import DEFAULT_T_DIFF_S, spaced, timecode

if TYPE_CHECKING:
    from emsync.composer import Sampling
    from emsync.decoder import Decoder

FloatArray = npt.NDArray[np.float64]

RECORD_FORMAT: Final = 1
#: Timecodes of markers where no video says otherwise.
DEFAULT_FRAME_RATE: Final = Fraction(25)
LONGEST_S: Final = 3 * 3600.0
SHORTEST_S: Final = 1.0
SLOWEST_QPM, FASTEST_QPM = 45, 240
#: Where about half of all real songs have their tempo.
DRAWN_QPM: Final = (84.0, 132.0)
#: An arousal of 1 moves that range up by so much, one of -1 down: of all cues in music, tempo says most about arousal
#: (Gabrielsson and Lindström, in Juslin and Sloboda, Handbook of Music and Emotion, 2010). The calmest (59 to 107) and
#: the most excited music (109 to 157) then share no tempo, and moderate moods still share most.
AROUSAL_QPM: Final = 25.0
#: Moods are told up to here: hardly any music the composer learned from is labelled further out (docs/mood.md).
FURTHEST_LEVEL: Final = 0.95
#: How strongly a mood is followed (`composer.Sampling.mood_strength`).
DEFAULT_MOOD_STRENGTH: Final = 2.0
#: Pitches are drawn a little more freely than all else: one chord is struck for bars otherwise (docs/decisions/0011).
DEFAULT_BY_KIND: Final[Mapping[str, tuple[float, float]]] = {"ON": (1.0, 0.97)}


@dataclass(frozen=True)
class Settings:
    """All that a piece depends on besides the film and the model.

    hits: "bend" (chords on the beat, and the tempo bends to put them on the cuts), "exact" (chords on the cuts,
    whatever the beat) or "free" (the model's own anticipation only). temperature above 0, top_p in (0, 1]; by_kind
    overrides both for single kinds of event. tempo_qpm: quarter notes a minute, 45 to 240. grid: "triplets" keeps
    every onset to the sixteenths of its bar and to sixteenth triplets, "sixteenths" to the former alone, in the tempo
    given or else one drawn with the seed; "free" leaves rhythm, and tempo where none is given, to the model.
    mood_strength, in [0, 10]: how strongly a mood is followed, 1 as the model learned it, 0 not at all
    (`composer.Sampling`). finish: whether the piece is made to begin at once and close on a chord, without drones and
    endless rolls, its chords on cuts accented (`finish`, `grammar.Limits.finish`).
    """

    seed: int = 0
    instruments: Literal["more", "fewer"] = "more"
    temperature: float = 0.8
    top_p: float = 0.95
    by_kind: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(DEFAULT_BY_KIND))
    hits: Literal["bend", "exact", "free"] = "bend"
    t_diff_s: float = DEFAULT_T_DIFF_S
    tempo_qpm: float | None = None
    grid: Literal["triplets", "sixteenths", "free"] = "triplets"
    mood_strength: float = DEFAULT_MOOD_STRENGTH
    finish: Literal["on", "off"] = "on"

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or not 0 <= self.seed < 2**63:
            raise InputError(f"seed {self.seed!r} is no whole number from 0 to 2**63 - 1; give one such as 7")
        for name, choices in (
            ("instruments", ("more", "fewer")),
            ("hits", ("bend", "exact", "free")),
            ("grid", ("triplets", "sixteenths", "free")),
            ("finish", ("on", "off")),
        ):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}")
        for name in ("temperature", "top_p", "t_diff_s", "mood_strength"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise InputError(f"{name} is {value!r}, which is no number; give one such as 1.0")
        tempo = self.tempo_qpm
        if tempo is not None and not (isinstance(tempo, int | float) and SLOWEST_QPM <= tempo <= FASTEST_QPM):
            raise InputError(
                f"a tempo of {tempo} is not between {SLOWEST_QPM} and {FASTEST_QPM} quarter notes a minute; "
                "give one such as 100"
            )
        object.__setattr__(self, "by_kind", {k: (float(t), float(p)) for k, (t, p) in self.by_kind.items()})

    def sampling(self) -> Sampling:
        """How events are drawn: these settings, and for the rest what `composer.Sampling` says."""
        from emsync.composer import Sampling

        return Sampling(self.temperature, self.top_p, self.by_kind, mood_strength=self.mood_strength)

    def tempo(self, arousal: float = math.nan) -> float | None:
        """The tempo to compose in: the one given; else, on the grid, one within `DRAWN_QPM`, drawn with the seed.

        arousal: the piece's, in [-1, 1], which moves the range by as much of `AROUSAL_QPM`; NaN, or a mood strength of
        0, leaves it where it is.
        """
        if self.tempo_qpm is not None or self.grid == "free":
            return self.tempo_qpm
        drawn = float(np.random.default_rng([self.seed, 1]).uniform(*DRAWN_QPM))
        return drawn if math.isnan(arousal) or not self.mood_strength else drawn + AROUSAL_QPM * arousal


@dataclass(frozen=True, eq=False)
class Soundtrack:
    """A composed piece: the score, all cuts, those asked for (after the 4 s filter), how each was met, and the mood."""

    score: Score
    cuts_s: FloatArray
    boundaries_s: FloatArray
    hits: tuple[Hit, ...]
    n_events: int
    mood: MoodCurve | None = None

    @property
    def n_within_frame(self) -> int:
        return sum(hit.within_frame for hit in self.hits)

    @property
    def n_within_second(self) -> int:
        return sum(hit.chord_s is not None for hit in self.hits)


def compose(
    decoder: Decoder,
    duration_s: float,
    cuts_s: npt.ArrayLike,
    settings: Settings | None = None,
    *,
    mood: MoodCurve | None = None,
    frame_rate: Fraction = DEFAULT_FRAME_RATE,
    progress: Callable[[float], None] | None = None,
) -> Soundtrack:
    """Compose for a film of `duration_s` with all its cuts, `cuts_s`; those closer than t_diff are only marked.

    mood: heard at the cursor, and its mean by the whole piece; before its first point and after its last it stays.
    Raises `ModelError` where a mood is asked of a model that was trained without, `InputError` for all else.
    """
    from emsync.composer import compose as compose_events
    from emsync.conditions import Conditions
    from emsync.tokenizer.events import decode

    settings = settings or Settings()
    if not SHORTEST_S <= duration_s <= LONGEST_S:
        raise InputError(
            f"a film of {duration_s:g} s is not between {SHORTEST_S:g} s and {LONGEST_S:g} s; cut it or join some"
        )
    cuts = cutlist.check(cuts_s, duration_s)
    boundaries = spaced(cuts, settings.t_diff_s, duration_s=duration_s)
    valence, arousal = math.nan, math.nan
    curves: dict[str, tuple[FloatArray, FloatArray]] = {}
    if mood is not None and mood.conditions:
        if not decoder.knows_mood:
            raise unheard("a mood")
        given = mood.check_fits(duration_s).conditions
        curves = {name: (t, np.clip(level, -FURTHEST_LEVEL, FURTHEST_LEVEL)) for name, (t, level) in given.items()}
        valence, arousal = mean_mood(mood, duration_s)
    conditions = Conditions(boundaries, duration_s, curves.get("valence"), curves.get("arousal"), valence, arousal)
    how: Literal["exact", "beat", "free"] = "beat" if settings.hits == "bend" else settings.hits
    (piece,) = compose_events(
        decoder,
        [conditions],
        seed=settings.seed,
        instruments=settings.instruments,
        sampling=settings.sampling(),
        land=how,
        tempo_qpm=settings.tempo(arousal),
        grid=settings.grid != "free",
        triplets=settings.grid == "triplets",
        finish=settings.finish == "on",
        progress=progress,
    )
    # Drum hits and bars have no end of their own, and may pass the film's.
    score = decode(piece.events.ids, piece.events.velocities).until(duration_s)
    if settings.hits == "bend":
        score = land(score, piece.targets_s, piece.boundaries_s)
    if settings.finish == "on":
        loud = curves.get("arousal") if settings.mood_strength else None
        score = finish(score, boundaries, arousal=None if loud is None else lambda t: np.interp(t, *loud))
    markers = [Marker(cut, f"Cut {i} {timecode(cut, frame_rate)}") for i, cut in enumerate(cuts.tolist(), start=1)]
    score = Score(
        score.instruments, score.instrument, score.pitch, score.velocity, score.start_s, score.end_s, score.tempo,
        score.bars,
        markers, score.keys, duration_s=duration_s,
    )  # fmt: skip
    return Soundtrack(score, cuts, boundaries, tuple(measure(score, boundaries)), len(piece.events), mood)


def mean_mood(mood: MoodCurve, duration_s: float) -> tuple[float, float]:
    """Valence and arousal of `mood` over all of 0 … duration_s, its ends held; NaN where nothing is given."""
    inside = mood.times_s[(mood.times_s > 0) & (mood.times_s < duration_s)]
    valence, arousal = mood.resampled(np.concatenate([[0.0], inside, [duration_s]])).mean
    return float(np.clip(valence, -1, 1)), float(np.clip(arousal, -1, 1))  # rounding may reach past the edge


def unheard(what: str) -> ModelError:
    """The error that `what` (a mood, or the option that gives one) is asked of a model that was trained without."""
    return ModelError(
        f"this model was trained without mood, so {what} cannot be followed; leave it out, "
        "or give --model one that knows mood"
    )


def model_record(folder: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Which model it is: "embedded" or a folder, and the hash of its weights and vocabulary."""
    path = checkpoint.embedded_folder() if folder is None else Path(folder)
    checkpoint.read_config(path)
    return {
        "folder": None if folder is None else str(path),
        "weights_sha256": checkpoint.weights_hash(path),
        "vocabulary": v.HASH,
    }


def make_record(
    track: Soundtrack, settings: Settings, *, model: Mapping[str, Any], backend: str, duration_s: float,
    frame_rate: Fraction,
    video: str | None, mood_source: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What lies beside the MIDI: enough to write the same bytes again, and what became of every cut.

    mood_source: the reader or the option that the track's mood came from.
    """
    return {
        "format": RECORD_FORMAT, "emsync": __version__, "model": dict(model), "backend": backend, "video": video,
        "duration_s": duration_s, "frame_rate": f"{frame_rate.numerator}/{frame_rate.denominator}",
        "cuts_s": track.cuts_s.tolist(), "seed": settings.seed,
        "settings": asdict(settings) | {"by_kind": {k: list(pair) for k, pair in settings.by_kind.items()}},
        "mood": None if track.mood is None else track.mood.as_json() | {"source": mood_source},
        "boundaries_s": track.boundaries_s.tolist(),
        "hits": [{"cut_s": h.cut_s, "chord_s": h.chord_s} for h in track.hits],
        "notes": len(track.score), "events": track.n_events,
    }  # fmt: skip


@dataclass(frozen=True)
class Record:
    """What of a record is needed to compose again."""

    duration_s: float
    frame_rate: Fraction
    cuts_s: tuple[float, ...]
    settings: Settings
    model_folder: str | None
    weights_sha256: str
    backend: str
    video: str | None
    mood: MoodCurve | None = None
    mood_source: str | None = None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Record:
        """Raises `InputError` for anything that is no record, naming what is wrong."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}); give the .mid.json that emsync compose wrote"
            ) from error
        except ValueError as error:
            raise InputError(f"{path} is not JSON ({error}); give the .mid.json that emsync compose wrote") from error
        if not isinstance(data, dict) or data.get("format") != RECORD_FORMAT:
            raise InputError(
                f"{path} is no record of format {RECORD_FORMAT}; give the .mid.json that emsync compose wrote"
            )
        try:
            values = {**data["settings"]}
            by_kind = {k: tuple(p) for k, p in values.pop("by_kind", {}).items()}
            values.setdefault("finish", "off")  # records from before there was any
            settings = Settings(values.pop("seed"), by_kind=by_kind, **values)
            folder, video = data["model"]["folder"], data.get("video")
            curve = data.get("mood")  # not in records of versions that knew no mood
            mood = None if curve is None else MoodCurve(curve["times_s"], curve["valence"], curve["arousal"])
            source = None if curve is None else curve["source"]
            if not all(name is None or isinstance(name, str) for name in (folder, video, source)):
                raise TypeError("a name is no text")
            return cls(
                float(data["duration_s"]), Fraction(data["frame_rate"]), tuple(float(c) for c in data["cuts_s"]),
                settings,
                folder, str(data["model"]["weights_sha256"]), str(data["backend"]), video, mood, source,
            )  # fmt: skip
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise InputError(
                f"{path} lacks or garbles a value ({error!r}); give the .mid.json that emsync compose wrote"
            ) from error

    def check_model(self, folder: str | os.PathLike[str] | None) -> None:
        """Raise `ModelError` if the model is not the one the record was made with."""
        found = model_record(folder)["weights_sha256"]
        if found != self.weights_sha256:
            raise ModelError(
                f"the record was made with a model whose weights hash to {self.weights_sha256[:12]}, "
                f"this one's to {found[:12]}; "
                "give the right one with --model"
            )


def write(
    track: Soundtrack, record: Mapping[str, Any], path: str | os.PathLike[str], *, overwrite: bool = False
) -> tuple[Path, Path]:
    """Write SONG.mid and SONG.mid.json; both places are tried before either is written."""
    from emsync import midi

    song = Path(path)
    beside = song.with_name(song.name + ".json")
    for place in (song, beside):
        check_writable(place, overwrite=overwrite)
    data = midi.to_bytes(track.score)
    write_bytes(song, data, overwrite=overwrite)
    write_bytes(beside, (json.dumps(record, indent=1) + "\n").encode(), overwrite=overwrite)
    return song, beside
