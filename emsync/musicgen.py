"""MusicGen-melody (Copet et al., NeurIPS 2023) as a backend: it plays the melody of a score in the sound of a text.

    backend = MusicGen.open("facebook/musicgen-melody")
    codes = backend.generate(brief, window, None, seed=0, tell=print)     # (codebooks, steps) int16
    sound = backend.decode(codes)                                        # (steps * hop, channels)

The melody goes straight into the model as one-hot chroma, so neither torchaudio nor a rendering is needed. The model
takes `chroma_length` frames for a window of 30 s, 7.8 a second. (Chroma at the codec's 50 frames a second would be cut
off after 4.7 s.) A window goes on from the codes that end the window before, as in NarraScore (Section 3.6).

Codes are sampled here and not by `generate` of transformers, which gives sound but not the codes, and draws from the
global random state. A test holds both to each other. Conventions: K codebooks (twice as many for stereo, left and right
in turn), codebook k one step later than the one before; position p of the decoder predicts step p of the first one.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emsync.backends import DEFAULT_MODEL, MUSICGEN, Brief, Kept, Tell, needed, not_here
from emsync.chroma import chroma
from emsync.errors import InputError, ModelError
from emsync.files import read_limited
from emsync.joins import Frames, Window
from emsync.vision import quietly

if TYPE_CHECKING:
    import torch

    from emsync.mood_adapter import MoodAdapter

MODEL_TYPE: Final = "musicgen_melody"
SIZE: Final = "6 GB"
LICENCE: Final = "CC-BY-NC 4.0: no commercial use"
#: Chroma frames of facebook/musicgen-melody: 32 kHz, every 4096 samples. Used where the checkpoint does not say.
CHROMA_HZ: Final = 32_000 / 4096
_MAX_CONFIG_BYTES: Final = 1 << 20
#: The number of steps between reports of progress.
_TELL_EVERY: Final = 10


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn; the defaults are those of the paper (Section 3) and of audiocraft."""

    temperature: float = 1.0
    top_k: int = 250
    guidance: float = 3.0
    """Classifier-free guidance: 1 is none."""

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and self.top_k >= 1 and self.guidance >= 1):
            raise InputError(
                f"a temperature of {self.temperature:g}, top-k of {self.top_k} and guidance of {self.guidance:g} "
                "cannot be sampled with; give 0 or more, 1 or more and 1 or more"
            )


@dataclass(frozen=True, eq=False)
class MusicGen:
    """A loaded MusicGen-melody. A temperature of 0 takes the likeliest code."""

    model: str
    network: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    chroma_hz: float
    sampling: Sampling = Sampling()
    adapter: MoodAdapter | None = field(default=None, repr=False)

    @classmethod
    def open(cls, model: str = DEFAULT_MODEL, *, adapter: str | Path | None = None) -> MusicGen:
        """The checkpoint of a folder, or one of the hub that was downloaded. Raises `ModelError`."""
        for package in ("torch", "transformers"):
            needed(package, "musicgen")
        import torch
        import transformers

        _check_kind(model)
        kind: Any = transformers.MusicgenMelodyForConditionalGeneration
        try:
            with quietly():
                tokenizer = transformers.AutoTokenizer.from_pretrained(model, local_files_only=True)
                network, report = kind.from_pretrained(
                    model, local_files_only=True, dtype=torch.float32, output_loading_info=True
                )
            if missing := sorted(report["missing_keys"]):
                raise ValueError(f"it lacks {len(missing)} weights, the first is {missing[0]}")
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception as error:  # broken checkpoints raise errors of every kind
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
            raise ModelError(f"the model {model!r} cannot be loaded ({reason}); download it again") from error
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = network.to(device).eval().requires_grad_(False)
        made = cls(model, network, tokenizer, _chroma_hz(model))
        if adapter is None:
            return made
        from emsync.mood_adapter import MoodAdapter

        return cls(model, network, tokenizer, made.chroma_hz, adapter=MoodAdapter.read(adapter, network))

    @property
    def name(self) -> str:
        return f"{MUSICGEN}:{self.model}"

    @property
    def settings(self) -> dict[str, Any]:
        weights = float(self.network.decoder.lm_heads[0].weight.double().sum())  # identifies the weights
        adapter = None if self.adapter is None else self.adapter.digest
        return {"sampling": asdict(self.sampling), "weights": weights, "adapter": adapter}

    @property
    def rate_hz(self) -> int:
        return int(self.network.config.audio_encoder.sampling_rate)

    @property
    def hop(self) -> int:
        return int(math.prod(self.network.config.audio_encoder.upsampling_ratios))

    @property
    def step_hz(self) -> float:
        """Codes a second."""
        return self.rate_hz / self.hop

    @property
    def longest(self) -> int:
        return max(3, round(self.network.config.chroma_length / self.chroma_hz * self.step_hz))

    @property
    def overlap(self) -> int:
        return self.longest // 3

    @property
    def n_books(self) -> int:
        """The rows of the codes."""
        return int(self.network.config.decoder.num_codebooks)

    def generate(self, brief: Brief, window: Window, before: Kept | None, seed: int, tell: Tell) -> Kept:
        import torch

        first_s = window.first / self.step_hz
        states = self.states(brief.text, self.chroma_of(brief, first_s))
        given = np.zeros((self.n_books, 0), np.int64) if before is None else before[:, len(before[0]) - window.known :]
        generator = torch.Generator(device=self.network.device).manual_seed(seed)
        if self.adapter is None or brief.mood is None:
            return self.sample(states, given, len(window), generator, tell)
        control = self.adapter.control(brief.mood, first_s, len(window), self.step_hz)
        with self.adapter.steering(self.network, control):
            return self.sample(states, given, len(window), generator, tell)

    def chroma_of(self, brief: Brief, first_s: float) -> Frames:
        """The melody from `first_s` on, (chroma_length, 12). Past the piece's end the last pitch class stays."""
        rows = _melody(brief, self.chroma_hz)
        at = round(first_s * self.chroma_hz) + np.arange(self.network.config.chroma_length)
        return rows[np.minimum(at, len(rows) - 1)]

    def states(self, text: str, melody: Frames) -> torch.Tensor:
        """What the decoder is conditioned on, (2, positions, width): first with melody and text, then with neither."""
        import torch

        network = self.network
        tokens = self.tokenizer([text], return_tensors="pt", truncation=True, max_length=256).to(network.device)
        null = np.zeros_like(melody)
        null[:, 0] = 1  # what the model was trained with for no melody
        rows = torch.from_numpy(np.stack([melody, null])).to(network.device)
        with torch.inference_mode():
            words = network.text_encoder(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])[0]
            if network.text_encoder.config.hidden_size != network.decoder.config.hidden_size:
                words = network.enc_to_dec_proj(words)
            words = words * tokens["attention_mask"][..., None]
            if network.config.num_chroma != network.decoder.config.hidden_size:
                rows = network.audio_enc_to_dec_proj(rows)
            return torch.cat([rows, torch.cat([words, torch.zeros_like(words)])], dim=1)

    def sample(self, states: torch.Tensor, given: Kept, n_steps: int, generator: torch.Generator, tell: Tell) -> Kept:
        """Codes (books, n_steps) that begin with `given` (books, g), g < n_steps."""
        import torch

        delays = self.delays
        fixed = self.laid_out(given, n_steps)
        n_positions = fixed.shape[1]
        rows = torch.full((self.n_books, n_positions), self.network.config.decoder.pad_token_id, dtype=torch.long)
        rows = torch.where(fixed >= 0, fixed, rows).to(states.device)
        cache, at = None, given.shape[1] + 1
        first = 0
        with torch.inference_mode():
            while at < n_positions:
                out = self.network.decoder(
                    input_ids=rows[:, first:at].repeat(2, 1), encoder_hidden_states=states if cache is None else None,
                    cache=cache, use_cache=True,
                )  # fmt: skip
                cache = out.cache
                drawn = self._drawn(out.logits[:, -1], generator)
                rows[:, at] = torch.where(fixed[:, at].to(states.device) >= 0, rows[:, at], drawn)
                first, at = at, at + 1
                if at % _TELL_EVERY == 0:
                    tell(at / n_positions)
        tell(1.0)
        codes = torch.stack([rows[k, 1 + d : 1 + d + n_steps] for k, d in enumerate(delays.tolist())])
        return codes.cpu().numpy().astype(np.int16)

    @property
    def delays(self) -> np.ndarray:
        """(books,) How many steps later than the first each codebook comes."""
        return np.arange(self.n_books) // int(self.network.config.decoder.audio_channels)

    def laid_out(self, given: Kept, n_steps: int) -> torch.Tensor:
        """(books, positions) The known codes, and padding; -1 for codes that are to be sampled."""
        import torch

        n_positions = n_steps + int(self.delays.max()) + 1
        fixed = np.full((self.n_books, n_positions), self.network.config.decoder.pad_token_id, dtype=np.int64)
        for k, delay in enumerate(self.delays.tolist()):
            fixed[k, 1 + delay : 1 + delay + n_steps] = -1
            fixed[k, 1 + delay : 1 + delay + given.shape[1]] = given[k]
        return torch.from_numpy(fixed)

    def _drawn(self, logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A code for each codebook, (books,), from logits (2 * books, codes): conditioned, then not."""
        import torch

        conditioned, without = logits.float().chunk(2)
        weighed = without + self.sampling.guidance * (conditioned - without)
        if self.sampling.temperature == 0:
            return weighed.argmax(dim=-1)
        best, where = weighed.topk(min(self.sampling.top_k, weighed.shape[-1]), dim=-1)
        odds = torch.softmax(best / self.sampling.temperature, dim=-1)
        return where.gather(1, torch.multinomial(odds, 1, generator=generator))[:, 0]

    def decode(self, kept: Kept) -> Frames:
        import torch

        codes = torch.from_numpy(kept.astype(np.int64)).to(self.network.device)
        channels = int(self.network.config.decoder.audio_channels)
        sides = []
        with torch.inference_mode():
            for side in range(channels):
                # (frames of the codec, batch, codebooks, steps)
                values = self.network.audio_encoder.decode(codes[None, None, side::channels], [None]).audio_values
                sides.append(values[0, 0].float().cpu().numpy())
        sound: Frames = np.stack(sides, axis=1)
        return sound[: kept.shape[1] * self.hop]


@lru_cache(maxsize=2)
def _melody(brief: Brief, rate_hz: float) -> Frames:
    """The melody of a whole piece, (frames, 12); each of its windows asks for it."""
    return chroma(brief.score, brief.melody, rate_hz=rate_hz, duration_s=brief.duration_s)


def _check_kind(model: str) -> None:
    """Raise `ModelError` unless the folder or the downloaded checkpoint is a MusicGen-melody."""
    config = _config_file(model, "config.json")
    if config is None and Path(model).is_dir():
        raise ModelError(f"{model} holds no model (it has no config.json); give the folder that a model was saved in")
    if config is None:
        raise not_here(model, DEFAULT_MODEL, SIZE, LICENCE)
    kind = _json(config).get("model_type")
    if kind != MODEL_TYPE:
        raise ModelError(
            f"{model} is a model of the kind {kind!r}, not {MODEL_TYPE!r}; give one such as {DEFAULT_MODEL}"
        )


def _config_file(model: str, name: str) -> Path | None:
    """A file of a checkpoint, in its folder or in the cache of the hub; None if it is not there."""
    if Path(model).is_dir():
        return Path(model, name) if Path(model, name).is_file() else None
    import huggingface_hub

    try:
        found = huggingface_hub.try_to_load_from_cache(model, name)
    except huggingface_hub.errors.HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_limited(path, _MAX_CONFIG_BYTES, "configuration", ModelError))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ModelError(f"{path} is not a model's configuration; download the model again")
    return found


def _chroma_hz(model: str) -> float:
    """The chroma frames a second that a checkpoint was trained with."""
    path = _config_file(model, "preprocessor_config.json")
    found = {} if path is None else _json(path)
    rate, hop = found.get("sampling_rate"), found.get("hop_length")
    is_given = isinstance(rate, int) and isinstance(hop, int) and rate > 0 and hop > 0
    return rate / hop if is_given and isinstance(rate, int) and isinstance(hop, int) else CHROMA_HZ
