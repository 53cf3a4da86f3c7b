"""Mood of a film by probing a vision-language model, as in NarraScore (Section 3.3).

    reader = open_vlm("HEAD")                   # the head that emsync train-affect --kind vlm wrote to HEAD
    curve = reader.read(Path("film.mp4"), scene)

A window of the film is one prompt (eq. 2): an instruction, then one frame a second, each after a text such as
"Time: 12s". The hidden states of one layer, averaged over the tokens of a frame, go through a small perceptron whose
output is clipped to [-1, 1] (eq. 3). Windows of 30 s begin every 15 s (Section 4.1) and are averaged where they overlap
(Section 3.6). One window at a time is in memory. Any image-text model of transformers can be used.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from emsync import vision
from emsync.errors import InputError, ModelError
from emsync.mood import MoodCurve
from emsync.video import Scene
from emsync.vision import Features, Floats, Head, Picture, Progress, Sight

#: Our wording. The paper gives only the purpose of its instruction: not to list objects, to follow the story.
INSTRUCTION: Final = (
    "These are frames of one film in order, one each second. Do not list objects. Follow the story: how its tension "
    "and its emotions rise and fall, and whether each moment feels pleasant or unpleasant, calm or excited."
)


@dataclass(frozen=True)
class Settings:
    """How a film is presented to the model. A head keeps the settings that it was trained with."""

    window_s: int = 30
    """Frames in a prompt, one a second."""
    hop_s: int = 15
    """Seconds from one window to the next, at most `window_s`."""
    layer: int = -1
    """Which hidden states: -1 for the last layer (L in the paper), 0 for the input of the first."""
    shortest_px: int = 256
    """The shorter side of a frame; larger frames need more tokens."""
    instruction: str = INSTRUCTION

    def __post_init__(self) -> None:
        if not 1 <= self.hop_s <= self.window_s:
            raise InputError(
                f"windows of {self.window_s} s every {self.hop_s} s leave gaps or none; give 1 s or more for both, and "
                "a window at least as long as the step"
            )
        if self.shortest_px < 16:
            raise InputError(f"pictures of {self.shortest_px} pixels show nothing; give 16 or more")


def settings_of(head: Head) -> Settings:
    """The settings of a head. Raises `ModelError` when one is missing."""
    try:
        return Settings(**{item.name: head.settings[item.name] for item in fields(Settings)})
    except (KeyError, TypeError, InputError) as error:
        raise ModelError(f"the head for {head.model!r} lacks a setting ({error}); train it again") from error


@dataclass(frozen=True, eq=False)
class Probe:
    """A loaded, frozen vision-language model whose hidden states are read."""

    model: str
    settings: Settings
    processor: Any = field(repr=False)
    network: Any = field(repr=False)
    device: Any

    @classmethod
    def load(cls, model: str, settings: Settings | None = None) -> Probe:
        """The model of a folder or of the hub, in the precision it was saved in. Raises `ModelError`."""
        settings = Settings() if settings is None else settings
        processor, network, device = vision.load(model, "AutoModelForImageTextToText", dtype="auto")
        images = getattr(processor, "image_processor", None)
        if images is not None and hasattr(images, "do_image_splitting"):
            images.do_image_splitting = False  # no close-ups: a film has many frames
        probe = cls(model, settings, processor, network, device)
        layers = probe.text_config.num_hidden_layers
        if not -layers - 1 <= settings.layer <= layers:
            raise InputError(f"{model!r} has no layer {settings.layer}; give 0 to {layers}, or -1 for the last")
        return probe

    @property
    def text_config(self) -> Any:
        """The configuration of the language model."""
        return self.network.config.get_text_config()

    @property
    def size(self) -> int:
        """The size of a hidden state."""
        return int(self.text_config.hidden_size)

    @property
    def image_token_id(self) -> int:
        """The token for a part of a picture in a prompt. Raises `ModelError` if the model names none."""
        for place in (self.network.config, self.processor):
            for name in ("image_token_id", "image_token_index"):
                if isinstance(number := getattr(place, name, None), int):
                    return number
        raise ModelError(f"{self.model!r} does not say which token stands for a picture; choose another model")

    def sight(self, video: str | os.PathLike[str], progress: Progress | None = None, expected_s: float = 0.0) -> Sight:
        """Hidden states (R, D) of a film's frames, one for each moment of each window."""
        times_s: list[float] = []

        def stream() -> Iterator[Picture]:
            for time_s, picture in vision.pictures(video, shortest_px=self.settings.shortest_px):
                times_s.append(time_s)
                yield picture

        windows = []
        for first, shown in vision.windowed(stream(), self.settings.window_s, self.settings.hop_s):
            windows.append((first, self.of_window(first, shown)))
            if progress is not None and expected_s > 0:
                progress(min(1.0, times_s[-1] / expected_s))
        if progress is not None:
            progress(1.0)
        return Sight.of(times_s, windows)

    def of_window(self, first: int, shown: Sequence[Picture]) -> Features:
        """Hidden states (n, D) of n frames in one prompt, the first of which is `first` seconds into the film."""
        import torch

        with vision.quietly():
            inputs = self.processor(text=[self.prompt(first, len(shown))], images=list(shown), return_tensors="pt")
        ids = inputs["input_ids"][0].numpy()
        longest = getattr(self.text_config, "max_position_embeddings", None)
        if longest is not None and len(ids) > longest:
            raise ModelError(
                f"{len(shown)} pictures are {len(ids)} tokens, {self.model!r} takes {longest}; "
                "train with a shorter --window or smaller pictures"
            )
        places = self._places(ids, len(shown))
        options: dict[str, Any] = {"output_hidden_states": True, "use_cache": False, "return_dict": True}
        if "logits_to_keep" in inspect.signature(self.network.forward).parameters:
            options["logits_to_keep"] = 1  # logits are not needed, and would take gigabytes
        try:
            with torch.inference_mode(), vision.quietly():
                states = self.network(**inputs.to(self.device, self.network.dtype), **options).hidden_states
                if states is None:
                    raise ModelError(f"{self.model!r} does not show its hidden states; choose another model")
                found = states[self.settings.layer][0].float().cpu().numpy()  # (tokens, D)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"memory ran out at {len(ids)} tokens; train with a shorter --window or a smaller model"
            ) from error
        return np.asarray(found[places].mean(axis=1), dtype=np.float32)

    def prompt(self, first: int, n: int) -> str:
        """The text of a window: the instruction, and "Time: 12s" before each frame, in the chat format of the model."""
        times = [f"Time: {first + i}s" for i in range(n)]
        if getattr(self.processor, "chat_template", None):
            content: list[dict[str, str]] = [{"type": "text", "text": self.settings.instruction}]
            for time in times:
                content += [{"type": "text", "text": time}, {"type": "image"}]
            return str(self.processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False))
        mark = getattr(self.processor, "image_token", None) or self.processor.tokenizer.convert_ids_to_tokens(
            self.image_token_id
        )
        return "\n".join([self.settings.instruction, *(f"{time} {mark}" for time in times)])

    def _places(self, ids: np.ndarray, n: int) -> np.ndarray:
        """The positions of the tokens of each of `n` frames in a prompt, (n, tokens a frame).

        Frames of one film have one size, so each has the same number of tokens. Raises `ModelError` if not, or if no
        text is between two frames.
        """
        at = np.flatnonzero(ids == self.image_token_id)
        each, rest = divmod(len(at), n)
        if not each or rest:
            raise ModelError(
                f"{len(at)} tokens of {self.model!r} stand for {n} pictures, not as many for each; choose another model"
            )
        places = at.reshape(n, each)
        if (places[1:, 0] - places[:-1, -1] < 2).any():
            raise ModelError(f"{self.model!r} reads pictures without their times between them; choose another model")
        return places


def perceptron(size: int, hidden: int, dropout: float = 0.0) -> Any:
    """Two linear layers with a GELU between, (..., size) to (..., 2).

    This is the shape of the paper's projector (Section 4.1); the paper does not give that of its probing head.
    """
    from torch import nn

    return nn.Sequential(nn.Linear(size, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, 2))


def probed(head: Head, sight: Sight) -> Floats:
    """Valence and arousal (M, 2) in [-1, 1] from a perceptron's weights (eq. 3), averaged where windows overlap."""
    import torch

    size = sight.features.shape[1]
    hidden = len(head.shaped({"0.bias": (None,)})["0.bias"])
    weights = head.shaped({"0.weight": (hidden, size), "3.weight": (2, hidden), "3.bias": (2,)})
    network = perceptron(size, hidden).eval()
    network.load_state_dict({name: torch.from_numpy(row) for name, row in weights.items()})
    with torch.inference_mode():
        rows = network(torch.from_numpy(sight.features)).clamp(-1.0, 1.0).numpy()
    return np.clip(sight.merged(rows), -1.0, 1.0)


@dataclass(frozen=True, eq=False)
class VlmReader:
    """An affect reader with a vision-language model and a trained head."""

    name: str
    probe: Probe
    head: Head

    def read(self, video: Path, scene: Scene, *, progress: Progress | None = None) -> MoodCurve:
        """The mood of the film once a second. Raises `VideoError` for a file that cannot be decoded."""
        sight = self.probe.sight(video, progress, scene.duration_s)
        levels = probed(self.head, sight)
        return MoodCurve(sight.times_s, levels[:, 0], levels[:, 1])


def open_vlm(argument: str | None) -> VlmReader:
    """The reader for the folder of a head. The weights are loaded at once; raises `ModelError` if that fails."""
    if argument is None or not vision.is_head(argument):
        raise ModelError(
            f"{argument or 'vlm'} is not the folder of a trained head, which a vision-language model needs; "
            "train one: emsync train-affect VIDEOS -o HEAD --kind vlm --model MODEL"
        )
    head = vision.read_head(argument, "vlm")
    probe = Probe.load(head.model, settings_of(head))
    head.shaped({"0.weight": (None, probe.size)})
    return VlmReader(f"vlm:{argument}", probe, head)
