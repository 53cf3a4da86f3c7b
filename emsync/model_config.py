"""The network's shape, checked when made; it travels with the weights. Needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from emsync import vocabulary as v
from emsync.conditions import CONTROL_LANES, LANE_NAMES
from emsync.errors import ModelError

#: The paper's model has one lane, models from before `meter` have four; they take no notice of the others.
FEWEST_LANES = 1


@dataclass(frozen=True)
class ModelConfig:
    """The model's shape. Checked when made; travels with the weights.

    attention: "relative" (Music Transformer's relative global attention) or "rotary".
    local_block: with rotary, layers other than every `global_every`-th attend only within their own and the previous
    block of this many positions; 0 makes every layer global.
    lane_encoding: "scalar" (the paper's FFN of nearness), "fourier" (multi-scale features of it) or "lookup" (an
    embedding of the offset itself, exact up to the longest TIMESHIFT).
    lanes: those of `conditions.LANES` that the model listens to: all, or the first ones.
    fusion: how the lanes of controls are joined: "sum" (all alike) or "dynamic" (each by a weight that follows from
    the event and from all of them; controllable-v2m, Section 3.5).
    guided_every: with n, beside the first of every n layers stands a copy that reads the controls, which the layers
    then do not (control-guided decoding, there, eq. 10); 0 for none.
    style_positions: so many positions, from the first on, have a trained vector of a style; at most 3, the prefix.
    adapter_layers: so many layers, from the first on, get what the mood adapter makes of the mood curve around each
    event (NarraScore, Section 3.5; there 75 % of the layers were best); 0 for no adapter.
    unknown_offsets: what stands beside the learned positions where no boundary is given: a vector of its own
    ("learned"), or the positions once more ("positions": paper, Section III-B2; with the boundary lane alone).
    """

    n_layers: int = 11
    n_heads: int = 8
    width: int = 512
    ff_width: int = 2048
    context: int = 1216
    attention: Literal["relative", "rotary"] = "relative"
    local_block: int = 0
    global_every: int = 4
    activation: Literal["gelu", "relu2"] = "gelu"
    norm: Literal["layer", "rms"] = "layer"
    qk_norm: bool = False
    tied: bool = False
    lane_encoding: Literal["scalar", "fourier", "lookup"] = "scalar"
    lanes: tuple[str, ...] = LANE_NAMES
    fusion: Literal["sum", "dynamic"] = "sum"
    guided_every: int = 0
    style_positions: int = 0
    adapter_layers: int = 0
    unknown_offsets: Literal["learned", "positions"] = "learned"
    knows_mood: bool = True
    vocabulary_size: int = v.SIZE

    def __post_init__(self) -> None:
        if not isinstance(self.lanes, (list, tuple)):
            raise ModelError(f"model: lanes are {self.lanes!r}; give a list of names, or leave them out")
        object.__setattr__(self, "lanes", tuple(self.lanes))
        for name in ("n_layers", "n_heads", "width", "ff_width", "context", "global_every"):
            if not (type(getattr(self, name)) is int and getattr(self, name) > 0):
                raise ModelError(f"model: {name} is {getattr(self, name)!r}; it must be a whole number above 0")
        if self.width % (2 * self.n_heads):
            raise ModelError(f"model: width {self.width} must be a multiple of twice n_heads ({self.n_heads})")
        if len(self.lanes) < FEWEST_LANES or self.lanes != LANE_NAMES[: len(self.lanes)]:
            raise ModelError(f"model: lanes {self.lanes} are not those of this version; train it again")
        if self.vocabulary_size != v.SIZE:
            raise ModelError(
                f"model: vocabulary_size is {self.vocabulary_size!r}, this emsync has {v.SIZE}; leave it out"
            )
        if type(self.local_block) is not int or self.local_block < 0:
            raise ModelError(f"model: local_block is {self.local_block!r}; give a whole number, 0 for none")
        most_of = {"guided_every": self.n_layers, "style_positions": 3, "adapter_layers": self.n_layers}
        for name, most in most_of.items():
            if type(getattr(self, name)) is not int or not 0 <= getattr(self, name) <= most:
                raise ModelError(f"model: {name} is {getattr(self, name)!r}; give a whole number from 0 to {most}")
        if (self.guided_every or self.fusion == "dynamic") and len(self.lanes) <= min(CONTROL_LANES):
            raise ModelError("model: fusion and guided_every go with lanes of controls; leave them out")
        for name in ("qk_norm", "tied", "knows_mood"):
            if not isinstance(getattr(self, name), bool):
                raise ModelError(f"model: {name} is {getattr(self, name)!r}; it must be true or false")
        if self.attention == "relative" and self.local_block:
            raise ModelError("model: local_block goes with rotary attention; set it to 0")
        if self.local_block and self.context % self.local_block:
            raise ModelError(f"model: context {self.context} must be a multiple of local_block {self.local_block}")
        if self.unknown_offsets == "positions" and (self.attention != "relative" or len(self.lanes) > 1):
            raise ModelError(
                'model: unknown_offsets "positions" goes with relative attention and the boundary lane alone; '
                "leave it out"
            )
        allowed = {
            "attention": ("relative", "rotary"), "activation": ("gelu", "relu2"), "norm": ("layer", "rms"),
            "lane_encoding": ("scalar", "fourier", "lookup"), "unknown_offsets": ("learned", "positions"),
            "fusion": ("sum", "dynamic"),
        }  # fmt: skip
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise ModelError(f"model: {name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}")

    @property
    def head_width(self) -> int:
        return self.width // self.n_heads

    @property
    def lane_width(self) -> int:
        """Width of the lanes' encodings: half beside learned positions, whole with rotary ones."""
        return self.width // 2 if self.attention == "relative" else self.width

    @property
    def guided_layers(self) -> tuple[int, ...]:
        """The layers beside which a guide stands."""
        return tuple(range(0, self.n_layers, self.guided_every)) if self.guided_every else ()

    @property
    def n_caches(self) -> int:
        """How many layers keep keys and values: those of the network, then the guides."""
        return self.n_layers + len(self.guided_layers)

    def is_local(self, layer: int) -> bool:
        """Whether a layer is local. Layers from `n_layers` on are the guides."""
        if self.guided_every and layer >= self.n_layers:
            layer = self.guided_layers[layer - self.n_layers]
        return bool(self.local_block) and (layer + 1) % self.global_every != 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"lanes": list(self.lanes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ModelError(f"model: unknown setting {sorted(unknown)[0]!r}; was it made by a newer emsync?")
        return cls(**values)
