"""A mood adapter for MusicGen (NarraScore, Section 3.5): valence and arousal steer the music, second by second.

    adapter = MoodAdapter.read("adapter", network)
    with adapter.steering(network, adapter.control(curve, first_s=0.0, n_steps=1500, step_hz=50.0)):
        ...                                     # what the network does here follows the curve

The curve is sampled once a second and interpolated to the codec's steps. Dilated convolutions smooth it and map it to
the width of the decoder (eq. 5). The result is added to the hidden states that enter each of the first 75 % of the
layers (Section 4.4), times a gain for each layer that starts at zero (eq. 6). Nothing else of the network is trained.

Left open by the paper, and chosen here: how many convolutions and their dilations; one gain a layer, not one in all;
with classifier-free guidance both halves are steered, so that guidance stays one towards text and melody; gaps of a
curve are filled, and a level that is not given at all is neutral (0).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emsync.adapter_files import MUSICGEN_MOOD, read_adapter, write_adapter
from emsync.errors import InputError, ModelError
from emsync.mood import MoodCurve

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: The share of the layers that the paper found best (Table 4: 75 %).
SHARE: Final = 0.75
#: The mood curve has a point every so many seconds (Section 3.3: 1 Hz).
CURVE_S: Final = 1.0


@dataclass(frozen=True)
class AdapterShape:
    """The shape of an adapter.

    Attributes:
        width: The decoder's.
        n_layers: How many layers are steered.
        channels: Of the convolutions.
        dilations: One convolution of three taps each. The default reaches 40 steps to both sides, 0.8 s at 50 Hz, so
            that the corners of a curve of one point a second are rounded.

    """

    width: int
    n_layers: int
    channels: int = 64
    dilations: tuple[int, ...] = (1, 3, 9, 27)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dilations", tuple(self.dilations))
        numbers = (self.width, self.n_layers, self.channels, *self.dilations)
        if not self.dilations or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in numbers):
            raise InputError(f"an adapter of the shape {numbers} cannot be made; give whole numbers from 1 on")

    @property
    def reach(self) -> int:
        """How many steps to each side a step of the control depends on."""
        return sum(self.dilations)

    @classmethod
    def for_network(cls, network: Any, *, share: float = SHARE, channels: int = 64) -> AdapterShape:
        """The shape for a network: the first `share` of its layers."""
        if not 0 < share <= 1:
            raise InputError(f"{share:g} of the layers cannot be steered; give a share above 0 and at most 1")
        decoder = network.decoder.config
        return cls(decoder.hidden_size, max(1, round(share * decoder.num_hidden_layers)), channels)


@dataclass(frozen=True, eq=False)
class MoodAdapter:
    """An adapter's network, `convert` and `gains`, and where it comes from."""

    shape: AdapterShape
    convert: Any = field(repr=False)
    """(1, 2, steps) to (1, width, steps)."""
    gains: Any = field(repr=False)
    """(n_layers,) one factor a layer."""
    training: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    """Identifies a set of weights."""

    @classmethod
    def fresh(cls, shape: AdapterShape, *, seed: int = 0) -> MoodAdapter:
        """An adapter that changes nothing yet: its gains are zero."""
        import torch
        from torch import nn

        from emsync.mood_layers import convolutions

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            convert = convolutions(2, shape.width, shape.channels, shape.dilations)
            return cls(shape, convert, nn.Parameter(torch.zeros(shape.n_layers)))

    @property
    def parameters(self) -> list[Any]:
        """What training changes."""
        return [*self.convert.parameters(), self.gains]

    def levels(self, mood: MoodCurve, first_s: float, n_steps: int, step_hz: float) -> Tensor:
        """Valence and arousal of steps, with `reach` more at both ends: (1, 2, n_steps + 2 * reach)."""
        import torch

        times_s = first_s + (np.arange(-self.shape.reach, n_steps + self.shape.reach) + 0.5) / step_hz
        points_s = np.arange(math.floor(times_s[0]), math.ceil(times_s[-1]) + 1) * CURVE_S
        sampled = mood.filled().at(np.maximum(points_s, 0.0))
        rows = np.stack([np.interp(times_s, points_s, np.nan_to_num(level)) for level in sampled])
        return torch.from_numpy(rows[None].astype(np.float32))

    def control(self, mood: MoodCurve, first_s: float, n_steps: int, step_hz: float) -> Tensor:
        """What is added to the hidden states, (n_steps, width), before the gain; it does not depend on the window."""
        levels = self.levels(mood, first_s, n_steps, step_hz).to(self.gains.device)
        rows: Tensor = self.convert(levels)[0]  # (width, steps)
        return rows[:, self.shape.reach : self.shape.reach + n_steps].T

    @contextlib.contextmanager
    def steering(self, network: Any, control: Tensor) -> Iterator[None]:
        """While this lasts, the network's decoder follows `control` (steps, width).

        Position p of the decoder predicts step p, so it is given that of step p; the melody and the text before it are
        left alone.
        """
        decoder = network.decoder.model.decoder
        state = {"first": 0, "prefix": 0}

        def locate(_: Any, args: tuple[Any, ...], given: dict[str, Any]) -> None:
            cache, states = given.get("cache"), given.get("encoder_hidden_states")
            before = 0 if cache is None else int(cache.get_seq_length())
            if before == 0:
                state["prefix"] = 0 if states is None else int(states.shape[1])
            state["first"] = before - state["prefix"]  # negative where the melody and the text are still to come

        def add(layer: int) -> Any:
            def hook(_: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
                hidden = args[0]
                at = torch_arange(hidden) + state["first"]
                rows = control.to(hidden)[at.clamp(0, len(control) - 1)] * (at >= 0)[:, None]
                return (hidden + self.gains[layer].to(hidden) * rows, *args[1:]), given

            return hook

        hooks = [decoder.register_forward_pre_hook(locate, with_kwargs=True)]
        for layer in range(self.shape.n_layers):
            hooks.append(decoder.layers[layer].register_forward_pre_hook(add(layer), with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def write(self, folder: Path) -> None:
        """Write adapter.safetensors and adapter.json into `folder`, which exists. Raises `OutputError`."""
        weights = {name: value.detach().cpu().numpy() for name, value in self.convert.state_dict().items()}
        weights["gains"] = self.gains.detach().cpu().numpy()
        write_adapter(folder, MUSICGEN_MOOD, {"shape": asdict(self.shape), "training": dict(self.training)}, weights)

    @classmethod
    def read(cls, folder: str | Path, network: Any) -> MoodAdapter:
        """The adapter of a folder, for this network. Raises `ModelError` if it cannot be read or does not fit."""
        import torch

        about, weights, digest = read_adapter(folder, MUSICGEN_MOOD)
        try:
            made = cls.fresh(AdapterShape(**about["shape"]))
            gains = torch.from_numpy(weights.pop("gains"))
            made.convert.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
            made.gains.data = gains.reshape(made.gains.shape)
        except (KeyError, TypeError, ValueError, RuntimeError, InputError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise ModelError(f"the adapter in {folder} cannot be read ({reason}); train it again") from error
        decoder = network.decoder.config
        if made.shape.width != decoder.hidden_size or made.shape.n_layers > decoder.num_hidden_layers:
            raise ModelError(
                f"the adapter in {folder} is for a decoder of width {made.shape.width}, this model's is "
                f"{decoder.hidden_size} wide with {decoder.num_hidden_layers} layers; train one on this model"
            )
        made.convert.to(network.device).eval().requires_grad_(False)
        made.gains.data = made.gains.data.to(network.device)
        made.gains.requires_grad_(False)
        return replace(made, training=dict(about.get("training", {})), digest=digest)


def torch_arange(hidden: torch.Tensor) -> Tensor:
    """0, 1, ... for the positions of hidden states (batch, positions, width)."""
    import torch

    return torch.arange(hidden.shape[1], device=hidden.device)
