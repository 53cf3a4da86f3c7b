"""The arms of `ablations.py`: one choice each, and the base that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emsync.conditions import LANE_NAMES
from emsync.training.presets import Preset

if TYPE_CHECKING:
    from emsync.model_config import ModelConfig

#: Continuing with the trained model: its shape, except for the context; half the rates, falling from the start.
TRAINED: dict[str, dict[str, Any]] = {
    "model": {"context": 1024}, "crops": {},
    "train": {"batch": 4, "optimizer": "muon", "matrix_rate": 0.01, "rate": 7.5e-4, "warmup_steps": 5, "decay": 1.0,
              "saves": 1, "validations": 1},
}  # fmt: skip
SCRATCH: dict[str, dict[str, Any]] = {
    "model": {
        "n_layers": 6, "n_heads": 2, "width": 128, "ff_width": 512, "context": 1024, "attention": "rotary",
        "local_block": 256, "global_every": 3, "activation": "relu2", "norm": "rms", "qk_norm": True,
        "lane_encoding": "lookup",
    },
    "crops": {},
    "train": {"batch": 2, "optimizer": "muon", "rate": 6e-3, "warmup_steps": 20, "saves": 1, "validations": 1},
}  # fmt: skip
RELATIVE = {"attention": "relative", "local_block": 0}
#: Millions of positions of the bases, times `--positions`.
TRAINED_M, SCRATCH_M = 0.2, 0.5
#: Curated sources; they have more weight in one arm.
CURATED = ("music-x-lab/POP909-Dataset", "lucasnfe/vgmidi", "AyHa1810/touhou-midi-collection", "reubenson/midi-archive")
CURATED_TIMES = 8


@dataclass(frozen=True)
class Arm:
    """One choice: what it changes in its base, in the songs ("all", "more", "curated", "tight") and in what a chord is.

    scratch: trained from scratch. fresh: starts with new encodings of the offset lanes ("lanes"), or of all lanes and
    new attention ("attention"), or with untrained meter lanes ("meter"), and trains `longer` times.
    """

    topic: str
    name: str
    model: dict[str, Any] = field(default_factory=dict)
    crops: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    songs: str = "all"
    strings: bool = False
    scratch: bool = False
    fresh: str = ""
    longer: float = 1.0

    @property
    def key(self) -> str:
        return f"{self.topic}/{self.name}"

    @property
    def base(self) -> str:
        """The topic of the arms that this one is compared with."""
        return "scratch" if self.scratch else self.fresh or "base"

    def preset(self, shape: ModelConfig | None) -> Preset:
        """The arguments of `fit`; shape: of the trained model."""
        going_on = {**TRAINED, "model": {**(shape.to_dict() if shape else {}), **TRAINED["model"], "lanes": LANE_NAMES}}
        base = SCRATCH if self.scratch or shape is None else going_on
        return Preset.from_dict({name: {**base[name], **getattr(self, name)} for name in base}, self.key)


ARMS = (
    Arm("base", "trained, seed 1"),
    Arm("base", "trained, seed 2", train={"seed": 2}),
    Arm("rate", "matrices, half", train={"matrix_rate": 0.005}),
    Arm("rate", "matrices, double", train={"matrix_rate": 0.02}),
    Arm("rate", "the rest, half", train={"rate": 3.75e-4}),
    Arm("rate", "the rest, fourfold", train={"rate": 3e-3}),
    Arm("lanes", "lookup", fresh="lanes", longer=1.5),
    Arm("lanes", "scalar (the paper)", model={"lane_encoding": "scalar"}, fresh="lanes", longer=1.5),
    Arm("lanes", "fourier", model={"lane_encoding": "fourier"}, fresh="lanes", longer=1.5),
    Arm("chords", "weight 1", train={"chord_weight": 1.0}),
    Arm("chords", "weight 30", train={"chord_weight": 30.0}),
    Arm("chords", "none left out", crops={"drop_chord": 0.0}),
    Arm("context", "2048", model={"context": 2048}, train={"batch": 2}),
    Arm("end", "never given", crops={"drop_end": 1.0}),
    Arm("velocity", "no head (weight 0)", train={"velocity_weight": 0.0}),
    Arm("songs", "no `fewer` pool", songs="more"),
    Arm("songs", "the half nearest the grid", songs="tight"),
    Arm("families", "strings make chords too", strings=True),
    Arm("scratch", "seed 1", scratch=True),
    Arm("attention", "rotary, three of four layers local", fresh="attention", longer=1.5),
    Arm("attention", "rotary, all layers global", model={"local_block": 0}, fresh="attention", longer=1.5),
    Arm("optimizer", "Adam, 3e-4", train={"optimizer": "adam", "rate": 3e-4}),
    Arm("optimizer", "Adam, 1e-3", train={"optimizer": "adam", "rate": 1e-3}),
    Arm("optimizer", "Muon and AdamW, a quarter of the rates", train={"matrix_rate": 2.5e-3, "rate": 1.9e-4}),
    Arm("songs", f"curated {CURATED_TIMES} times", songs="curated"),
    Arm("context", "4096", model={"context": 4096}, train={"batch": 1}),
    Arm("attention", "relative, all layers global", model=RELATIVE, fresh="attention", longer=1.5),
    Arm("shape", "3 layers of 184", model={"n_layers": 3, "width": 184, "ff_width": 736}, scratch=True),
    Arm("shape", "12 layers of 92", model={"n_layers": 12, "width": 92, "ff_width": 368}, scratch=True),
    Arm("scratch", "seed 2", train={"seed": 2}, scratch=True),
    Arm("chords", "half left out", crops={"drop_chord": 0.5}),
    Arm("end", "always given early", crops={"drop_end": 0.0, "late_end": 0.0}),
    Arm("velocity", "weight 1", train={"velocity_weight": 1.0}),
    Arm("meter", "never given", crops={"drop_meter": 1.0}, fresh="meter", longer=2.0),
    Arm("meter", "given", fresh="meter", longer=2.0),
)
BASES = ("base", "scratch", "lanes", "attention", "meter")
#: The arms that others are compared with.
FIRST = {next(arm.key for arm in ARMS if arm.topic == topic) for topic in BASES}
