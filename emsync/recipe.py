"""The recipe: every composing choice in one place.

`Recipe` is the one place where a choice has its default, its range, its unit and its help text. The options of
`emsync compose`, their checks and docs/cli.md are generated from its fields; the soundtrack, the composer, the grammar
and the evaluation take the recipe as it is. CONTRIBUTING.md shows how to add a choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, Literal

from emsync import control_curves as controls_
from emsync import describe as describes
from emsync import drawn_tempo, keys, palettes, recipe_values
from emsync import form as forms
from emsync.choice import Choice, check_style, choice_of
from emsync.choice import choice as _choice
from emsync.control_curves import ControlCurves
from emsync.errors import InputError
from emsync.likeness import Likeness, check_likeness

Hits = Literal["bend", "exact", "free"]

#: The length of a film, in seconds.
SHORTEST_S: Final = 1
LONGEST_S: Final = 3 * 3600
#: The largest seed. It survives JSON, NumPy and torch alike.
MAX_SEED: Final = 2**63 - 1
#: Pitches are drawn a little more freely than all else; otherwise one chord is repeated for bars (docs/decisions/0011).
DEFAULT_BY_KIND: Final[Mapping[str, tuple[float, float]]] = {"ON": (1.0, 0.97)}


@dataclass(frozen=True)
class Recipe:
    """Every choice that a piece depends on besides the film and the model. The fields' help texts say what they mean.

    Raises `InputError` for a value outside its field's range, naming the field, the value and the range.

    Examples:
        >>> Recipe(seed=7, tempo_qpm=96.0).grid
        'triplets'

    """

    seed: int = _choice(
        0, "Random seed; the same seed gives the same music.", "--seed", "N", low=0, high=MAX_SEED, whole=True
    )
    instruments: Literal["more", "fewer"] = _choice(
        "more", "Three or more families of instruments, or at most two.", "--instruments", choices=("more", "fewer")
    )
    temperature: float = _choice(
        0.87, "Sampling temperature: above 1 is bolder, below 1 is safer.", "--temperature", "T",
        low=0, low_open=True, high=10)  # fmt: skip
    top_p: float = _choice(
        0.95, "Sample only from the most probable events that together have this probability.", "--top-p", "P",
        low=0, low_open=True, high=1)  # fmt: skip
    by_kind: Mapping[str, tuple[float, float]] = field(
        default_factory=lambda: dict(DEFAULT_BY_KIND),
        metadata={
            "choice": Choice(
                "Temperature and top-p of one kind of event, such as TIMESHIFT=0.9,0.9; may be repeated.",
                "--sampling", "KIND=T,P",
                default_text=", ".join(f"{kind}={t:g},{p:g}" for kind, (t, p) in DEFAULT_BY_KIND.items())
                + ", unless --temperature or --top-p is given",
            )
        })  # fmt: skip
    """For sampling within a kind. Which kind comes next is sampled from all kinds, with the general temperature."""
    hits: Literal["bend", "exact", "free"] = _choice(
        "bend",
        "How chords meet cuts: on the beat while the tempo bends, exactly on the cut whatever the beat, or wherever "
        "the model puts them.",
        "--hits", choices=("bend", "exact", "free"))  # fmt: skip
    t_diff_s: float = _choice(
        4.0, "Cuts closer than this to the one before get a marker but no chord.", "--t-diff", "SECONDS",
        low=0, high=3600)  # fmt: skip
    tempo_qpm: float | None = _choice(
        None, "Tempo in quarter notes per minute, before it bends towards the cuts.", "--tempo", "QPM",
        low=drawn_tempo.SLOWEST_QPM, high=drawn_tempo.FASTEST_QPM, optional=True,
        default_text="drawn with the seed")  # fmt: skip
    tempo_plan: Literal["on", "off"] = _choice(
        "on",
        "With --hits bend: choose tempo and beats for the film before composing, so that the tempo bends little; or "
        "carry the nearest beat onto each cut, however far.",
        "--tempo-plan", choices=("on", "off"), since="off")  # fmt: skip
    max_bend: float = _choice(
        3.0, "With --tempo-plan on: how far the tempi of neighbouring bars may differ, in percent, and twice that in "
        "all; cuts that need more are missed.",
        "--max-bend", "PERCENT", low=0.1, high=25)  # fmt: skip
    metre_changes: bool = _choice(
        False, "With --tempo-plan on: allow a bar of 2/4 or 3/4 before a cut, so that the cut falls on a downbeat.",
        "--metre-changes", choices=(False, True))  # fmt: skip
    grid: Literal["triplets", "sixteenths", "free"] = _choice(
        "triplets",
        "Where notes may begin: on sixteenths and sixteenth triplets, on sixteenths only, or wherever the model puts "
        "them (without --tempo, the model then chooses the tempo, too).",
        "--grid", choices=("triplets", "sixteenths", "free"))  # fmt: skip
    mood_strength: float = _choice(
        2.5,
        "How strongly the mood is followed (classifier-free guidance): 1 as in training, more to exaggerate, 0 not at "
        "all.",
        "--mood-strength", "S", low=0, high=10)  # fmt: skip
    mode: Literal["auto", "major", "minor", "off"] = _choice(
        "auto",
        "Major or minor: by the valence of the mood, where it is given, or one of them throughout; off leaves it to "
        "the model.",
        "--mode", choices=("auto", "major", "minor", "off"), since="off")  # fmt: skip
    key: str = _choice(
        keys.AUTO,
        "The tonic, such as C, F# or Bb; auto takes a theme's, or draws one with the seed where the mode is known.",
        "--key", "TONIC", text=keys.check_tonic)  # fmt: skip
    mode_strength: float = _choice(
        0.8, "How strongly pitches lean towards the key: a factor of their log probability in it, which is added to "
        "their logits. It is multiplied by half of --mood-strength and the root of the magnitude of valence.",
        "--mode-strength", "S", low=0, high=10)  # fmt: skip
    progression: Literal["on", "off"] = _choice(
        "on", "Whether bars lean towards chords, in loops as in real songs, where pitches lean towards a key.",
        "--progression", choices=("on", "off"), since="off")  # fmt: skip
    moving_chords: bool = _choice(
        True, "Whether no chord of a loop lasts for three bars.", choices=(False, True), since=False
    )
    register_bias: float = _choice(
        0.4, "Added to the logits of all pitched notes but the bass's for every octave above middle C, times valence "
        "and --mood-strength.", low=0, high=10, since=0.0)  # fmt: skip
    register_feedback: bool = _choice(
        True, "Whether the register also follows what feedback adds to a valence beyond its sign, or beyond 1.",
        choices=(False, True), since=False)  # fmt: skip
    arousal_qpm: float = _choice(
        35.0, "What an arousal of 1 adds to the range that a tempo is drawn from, in quarter notes a minute.",
        low=0, high=45, since=25.0)  # fmt: skip
    valence_qpm: float = _choice(
        15.0, "What a valence of 1 adds to it.", low=0, high=30, since=0.0)  # fmt: skip
    song_tempi: bool = _choice(
        True, "Whether tempi without a mood are drawn as in songs, and an arrangement that songs of such a tempo have.",
        choices=(False, True), since=False)  # fmt: skip
    finish: Literal["on", "off"] = _choice(
        "on",
        "The finishing rules: a closing chord on the tonic, accents on cuts, loudness that follows arousal, no drones. "
        "Or leave the model's music as it is.",
        "--finish", choices=("on", "off"), since="off")  # fmt: skip
    velocity_temperature: float = _choice(1.0, "Sampling temperature of velocities.", low=0, low_open=True, high=10)
    chord_bias: float = _choice(
        -math.log(10.0),
        "Added to the logit of CHORD. In training its loss weighs ten times as much (paper, Section IV-A), which "
        "multiplies its odds by ten; the default divides them by ten again.",
        low=-100, high=100)  # fmt: skip
    stray_bias: float = _choice(
        -3.0, "Added to the logit of CHORD besides, where the grammar puts chords on cuts: other chords distract.",
        low=-100, high=100, since=-1.7)  # fmt: skip
    loose_bias: float = _choice(
        -0.2, "Added to the logits of TIMESHIFTs that leave the sixteenths, to end a note or for a triplet.",
        low=-100, high=100, since=-0.9)  # fmt: skip
    loose_ends: bool = _choice(
        True, "Whether notes may end off the sixteenths (docs/decisions/0010).", choices=(False, True)
    )
    candidates: int = _choice(
        1, "How many candidates to compose for every eight seconds or so; the best is kept. More than 1 needs a model "
        "with critic.json (emsync fit-critic).", "--candidates", "K", low=1, high=16, whole=True, since=1)  # fmt: skip
    copying: float = _choice(
        0.5,
        "How much the piece's own repeats add to the model's predictions: 1 as fitted, 0 nothing. Only for models with "
        "copying.json (emsync fit-copying).",
        "--copying", "SHARE", low=0, high=1, since=0.0)  # fmt: skip
    longest_copy_bars: int = _choice(
        2, "After this many copied bars in a row, copying stops until a new bar has been played.",
        "--copy-bars", "N", low=1, high=1000, whole=True)  # fmt: skip
    form: str = _choice(
        forms.AUTO,
        "The sections, such as AABA or intro,A,B,A'+2 (a prime varies, a number transposes). A repeated label returns "
        "to the first section of its name. auto plans them from the film; none plans nothing.",
        "--form", "SECTIONS", text=forms.check, since=forms.NONE)  # fmt: skip
    theme_strength: float = _choice(
        0.6, "How closely a section that returns follows the one it returns to: 0 not at all, 1 note for note.",
        "--theme-strength", "SHARE", low=0, high=1)  # fmt: skip
    phrase_strength: float = _choice(
        0.8, "How closely the accompaniment of four bars returns in the next four: 0 not at all, 1 note for note.",
        "--phrase-strength", "SHARE", low=0, high=1, since=0.0)  # fmt: skip
    palette: str = _choice(
        palettes.AUTO,
        f"The instruments: auto takes them from the mood; or {', '.join(palettes.PALETTES)}; or programs counted from "
        "0, such as strings=48,piano=4, alone or after a name.",
        "--palette", "SOUNDS", text=palettes.check, since=palettes.STANDARD)  # fmt: skip
    density_limit: float = _choice(
        1.0, "The most notes in four seconds, as a multiple of songs' 95th percentile at this arousal; 0: no limit.",
        "--density-limit", "TIMES", low=0, high=10, since=0.0)  # fmt: skip
    density_floor: float = _choice(
        1.5, "The least notes in four seconds, as a multiple of their 10th percentile at this arousal; 0: no floor.",
        "--density-floor", "TIMES", low=0, high=10, since=0.0)  # fmt: skip
    mood_feedback: float = _choice(
        1.0, "How fast a piece corrects its mood where it is heard to miss the one requested: 0 not at all.",
        "--mood-feedback", "S", low=0, high=2, since=0.0)  # fmt: skip
    feedback_reach: bool = _choice(
        True, "Whether feedback also makes keys clearer beyond a valence of 1, and moves the final loudness.",
        choices=(False, True), since=False)  # fmt: skip
    opening_key: float = _choice(
        1.7, "How many times as strongly pitches lean towards the key in the first three bars.",
        low=0, high=10, since=1.0)  # fmt: skip
    relative_chords: bool = _choice(
        True, "Whether bars' chords give way to their relatives, so that as many are major as valence asks for.",
        choices=(False, True), since=False)  # fmt: skip
    mode_feedback: float = _choice(
        1.0, "How strongly pitches lean to a mode, or its relative, of which too little was heard for the valence.",
        low=0, high=10, since=0.0)  # fmt: skip
    settled_key: float = _choice(
        0.2, "How strongly pitches lean towards the key that is heard, where neither a mood nor a choice says which: "
        "as --mode-strength.", low=0, high=10, since=0.0)  # fmt: skip
    clear_chords: float = _choice(
        2.0, "Added to the logits of a bar's chord for every second without its notes, and half as much to a bass.",
        low=0, high=100, since=0.0)  # fmt: skip
    balance: float = _choice(
        1.0, "How strongly the families keep to an arrangement as in real songs, or --like's: 0 not at all. Not with "
        "a mood, --instruments fewer, or families in --describe.",
        "--balance", "S", low=0, high=10, since=0.0)  # fmt: skip
    pace: float = _choice(
        1.0, "How strongly a piece keeps to the notes a second of its arrangement, one of a hundred; 0: one of ten, "
        "and as many notes as come.", "--pace", "S", low=0, high=10, since=0.0)  # fmt: skip
    left_out: float = _choice(
        8.0, "What notes of a family that the arrangement leaves out lose.", low=0, high=100, since=4.0)  # fmt: skip
    alone_bias: float = _choice(
        4.0, "Added to the logits of pitched notes for every second, from the first on, that none has sounded.",
        low=0, high=100, since=0.0)  # fmt: skip
    monotony_bias: float = _choice(
        2.0, "Added to the logits of other pitch classes for every second in which one or two make up the music.",
        low=0, high=100, since=0.0)  # fmt: skip
    texture: float = _choice(
        1.0, "How strongly notes lean towards textures as in real songs: fewer struck again, fewer between eighths.",
        "--texture", "S", low=0, high=10, since=0.0)  # fmt: skip
    profiles: float = _choice(
        1.0, "How strongly places in the bar, lengths of notes and steps of melodies lean towards those of real songs.",
        low=0, high=10, since=0.0)  # fmt: skip
    expression: float = _choice(
        1.0, "How strongly articulation and loudness follow arousal: notes get shorter and louder, or long and soft.",
        "--expression", "S", low=0, high=10, since=0.0)  # fmt: skip
    count_in: bool = _choice(
        False, "Whether drums may begin a calm piece alone, as if to count in.", choices=(False, True), since=True
    )
    compass: bool = _choice(
        True, "Whether bass and guitar keep to the pitches of real songs.", choices=(False, True), since=False
    )
    full_chords: float = _choice(
        4.0, "Added to the logits of the third and fifth that a CHORD still lacks, where pitches lean towards a key.",
        low=0, high=100, since=0.0)  # fmt: skip
    heard_thirds: float = _choice(
        4.0, "The same without a key: of the third that the piece has played more of late.", low=0, high=100, since=0.0
    )
    final_tonic: float = _choice(
        6.0, "Added to the logits of the tonic triad in the last chord, to which a dominant leads; 0: any chord.",
        low=0, high=100, since=0.0)  # fmt: skip
    late_accents: bool = _choice(
        True, "Whether chords on cuts that sound just to the end are accented, too.", choices=(False, True), since=False
    )
    stale_bias: float = _choice(
        -0.1, "Added to the logits of the last bar's pitches, times the square of how many bars it was static.",
        low=-100, high=0)  # fmt: skip
    repeat_bias: float = _choice(
        -0.2, "Added to the logit of a pitch for each time it was repeated more often in a row than in real songs.",
        low=-100, high=0)  # fmt: skip
    controls: ControlCurves | None = _choice(  # noqa: RUF009 (a field, as all the others)
        None,
        "Controls over time that the piece follows: intensity, density, melody, rhythm, key, change. JSON of emsync "
        "controls or analyze, CSV, or a MIDI file whose controllers draw them (CC 11 intensity, CC 1 density).",
        "--controls", "FILE", text=controls_.check_curves, default_text="none")  # fmt: skip
    intensity: str = _choice(
        "none",
        "Loudness over time: build, fade, arc, stinger, or a number of dB against the mean of real songs.",
        "--intensity", "SHAPE", text=lambda value: controls_.check_choice(value, "intensity"))  # fmt: skip
    intensity_by: Literal["notes", "velocity"] = _choice(
        "notes",
        "How intensity is reached: enough notes are kept sounding, then velocities are scaled; or by velocities alone.",
        "--intensity-by", choices=("notes", "velocity"), since="velocity")  # fmt: skip
    density: str = _choice(
        "none",
        "Notes that begin per second: build, fade, arc, stinger, or a number; real songs have 4 to 34, median 19.",
        "--density", "SHAPE", text=lambda value: controls_.check_choice(value, "density"))  # fmt: skip
    style: str = _choice(
        "", "A style to compose in, trained on a few pieces by emsync train --adapter lora.",
        "--style", "ADAPTER", text=check_style, default_text="none")  # fmt: skip
    style_strength: float = _choice(
        1.0, "How much of the style is added: 0 nothing, 1 all of it.", "--style-strength", "SHARE", low=0, high=1
    )
    style_manner: Literal["on", "off"] = _choice(
        "on", "Whether to compose like one of the style's pieces as well, as with --like: likely one of a mood near to "
        "the film's.", "--style-manner", choices=("on", "off"), since="off")  # fmt: skip
    like: Likeness | None = _choice(  # noqa: RUF009 (a field, as all the others)
        None, "A piece to compose in the manner of, without training and without copying its lines (docs/styles.md).",
        "--like", "SONG.mid", text=check_likeness, default_text="none")  # fmt: skip
    keeps_shares: bool = _choice(
        True, "Whether families keep to the shares of --like where the piece follows a mood, too.",
        choices=(False, True), since=False)  # fmt: skip
    describe: str = _choice(
        "", "The music in words, such as \"slow, strings, uneasy\": families, tempo, mood, density, loudness.",
        "--describe", "WORDS", text=describes.check, default_text="nothing")  # fmt: skip
    control_strength: float = _choice(
        1.0, "How strictly the controls are followed: 0 not at all, 1 as strictly as each of them says.",
        "--control-strength", "SHARE", low=0, high=1)  # fmt: skip
    lane_strength: float = _choice(
        1.0, "How strongly a model that learned controls follows them: 0 not at all, 1 as learned, above 1 guided.",
        "--lane-strength", "STRENGTH", low=0, high=4)  # fmt: skip
    intensity_lane: bool = _choice(
        False, "Whether intensity is shown to the model where it is steered, too.", choices=(False, True), since=True
    )
    key_lane: bool = _choice(
        False, "Whether keys are shown to the model where they are steered, too.", choices=(False, True), since=True
    )
    key_feedback: bool = _choice(
        True, "Whether a requested key is heard: notes lean away from a key that fits better so far.",
        choices=(False, True), since=False)  # fmt: skip

    def __post_init__(self) -> None:
        for name, choice in CHOICES.items():
            if name != "by_kind":
                choice.check(name, getattr(self, name))
        object.__setattr__(self, "by_kind", recipe_values.checked_kinds(self.by_kind, CHOICES))
        for name in ("intensity", "density"):
            if getattr(self, name) != "none" and self.controls is not None and name in self.controls:
                raise InputError(f"the controls have a curve for {name} already; leave out --{name}, or the curve")

    @property
    def described(self) -> describes.Description:
        """What `describe` says."""
        return describes.understood(self.describe)

    @property
    def controlled(self) -> bool:
        """Whether anything gives a control: a file, `intensity` and `density`, a description or a reference."""
        levels = (self.described.level(name, getattr(self, name)) for name in ("intensity", "density"))
        return bool(self.controls) or self.like is not None or any(level != "none" for level in levels)

    @property
    def on_grid(self) -> bool:
        """Whether notes begin on a grid."""
        return self.grid != "free"

    @property
    def lands(self) -> bool:
        """Whether the grammar puts a chord on every cut."""
        return self.hits != "free"

    @property
    def plans(self) -> bool:
        """Whether the tempo is planned for the film; without a grid it is the model's own, unless it is given."""
        return self.hits == "bend" and self.tempo_plan == "on" and (self.on_grid or self.tempo_qpm is not None)

    @property
    def finishes(self) -> bool:
        """Whether the finishing rules apply."""
        return self.finish == "on"

    def tempo(self, arousal: float | None = None, valence: float | None = None) -> float | None:
        """The tempo to compose in, in quarter notes per minute; None: the model chooses. See `drawn_tempo.tempo`."""
        return drawn_tempo.tempo(self, arousal, valence)

    def tempo_range(self, arousal: float | None = None, valence: float | None = None) -> tuple[float, float]:
        """The slowest and the fastest tempo that may be drawn, in quarter notes per minute; as for `tempo`."""
        return drawn_tempo.tempo_range(self, arousal, valence)

    def curves(self, duration_s: float, strength: float | None = None) -> ControlCurves:
        """All controls over a film of `duration_s` seconds, times `strength`, by default `control_strength`.

        Raises `InputError` for a curve that ends long after the film.
        """
        strength = self.control_strength if strength is None else strength
        found = {} if self.controls is None else dict(self.controls.check_fits(duration_s).by_name)
        for name in ("intensity", "density"):
            said = self.described.level(name, getattr(self, name)) if name not in found else getattr(self, name)
            if (control := controls_.of_choice(said, name, duration_s)) is not None:
                found[name] = control
        if self.like is not None and "density" not in found:
            found["density"] = self.like.control
        return ControlCurves(found if strength else {}).scaled(strength)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` is the inverse."""
        plain = asdict(replace(self, controls=None, like=None))
        plain["like"] = None if self.like is None else self.like.to_dict()
        plain["controls"] = None if self.controls is None else self.controls.as_json()
        return plain | {"by_kind": {kind: list(pair) for kind, pair in self.by_kind.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """A recipe from a record. Fields that the record does not have get what older versions composed with.

        Raises:
            InputError: A value is outside its range.
            KeyError, TypeError, ValueError, AttributeError: The record is not one of a recipe.

        """
        return cls(**recipe_values.upgraded(values, CHOICES))


#: The fields that a song which is revised or arranged has settled: it has a tempo, bars and tracks.
OF_A_SONG: Final = (
    "tempo_qpm", "arousal_qpm", "valence_qpm", "song_tempi", "tempo_plan", "max_bend", "metre_changes", "instruments",
    "like", "style_manner", "mood_feedback", "feedback_reach",
)  # fmt: skip
#: Every field's `Choice`, by name, in the order of the fields.
CHOICES: Final[Mapping[str, Choice]] = {item.name: choice_of(item) for item in fields(Recipe)}
