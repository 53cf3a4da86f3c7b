"""ACE-Step 1.5 through diffusers as a backend: it covers a rendering of the score, given its tempo, key and meter.

    backend = AceStep.open("ACE-Step/acestep-v15-base-diffusers")

The task is `cover` of `AceStepPipeline`: `src_audio` is a stretch of the score, played by FluidSynth, and `bpm`,
`keyscale` and `timesignature` are the score's own. Each window is a cover of its own stretch; two windows are joined at
equal power where they overlap. What is kept of a window is its sound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from emsync.backends import ACE_STEP, Brief, Kept, Tell, needed, not_here
from emsync.errors import InputError, ModelError
from emsync.joins import Frames, Window
from emsync.vision import quietly

DEFAULT_MODEL: Final = "ACE-Step/acestep-v15-base-diffusers"
SIZE, LICENCE = "10 GB", "MIT"
INDEX: Final = "model_index.json"
PIPELINE: Final = "AceStepPipeline"
#: A window, and what two windows have in common, in seconds. The model was trained with songs of up to ten minutes; a
#: shorter window takes less memory.
WINDOW_S, OVERLAP_S = 120.0, 6.0
_TONICS: Final = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


@dataclass(frozen=True, eq=False)
class AceStep:
    """A loaded ACE-Step pipeline."""

    model: str
    pipeline: Any = field(repr=False)
    steps: int = 50
    """Denoising steps; a distilled (turbo) checkpoint takes 8."""
    guidance: float = 7.0
    window_s: float = WINDOW_S

    @classmethod
    def open(cls, model: str = DEFAULT_MODEL) -> AceStep:
        """The checkpoint of a folder, or one of the hub that was downloaded. Raises `ModelError`."""
        for package in ("torch", "transformers", "diffusers"):
            needed(package, "acestep")
        import diffusers
        import huggingface_hub
        import torch

        model = model or DEFAULT_MODEL
        folder = Path(model)
        if not folder.is_dir():
            try:
                found = huggingface_hub.try_to_load_from_cache(model, INDEX)
            except huggingface_hub.errors.HFValidationError:
                found = None
            if not isinstance(found, str):
                raise not_here(model, DEFAULT_MODEL, SIZE, LICENCE)
            folder = Path(found).parent
        if not (folder / INDEX).is_file():
            raise ModelError(f"{model} holds no pipeline (it has no {INDEX}); give the folder that one was saved in")
        bars = diffusers.utils.logging.is_progress_bar_enabled()
        diffusers.utils.logging.disable_progress_bar()
        try:
            with quietly():
                pipeline = diffusers.DiffusionPipeline.from_pretrained(
                    folder, torch_dtype=torch.float32, local_files_only=True
                )
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception as error:  # broken checkpoints raise errors of every kind
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
            raise ModelError(f"the model {model!r} cannot be loaded ({reason}); download it again") from error
        finally:
            if bars:
                diffusers.utils.logging.enable_progress_bar()
        if type(pipeline).__name__ != PIPELINE:
            raise ModelError(
                f"{model} is a {type(pipeline).__name__}, not an {PIPELINE}; give one such as {DEFAULT_MODEL}"
            )
        if torch.cuda.is_available():
            pipeline = pipeline.to("cuda")
        pipeline.set_progress_bar_config(disable=True)
        return cls(model, pipeline, 8 if pipeline.is_turbo else 50, 1.0 if pipeline.is_turbo else 7.0)

    @property
    def name(self) -> str:
        return f"{ACE_STEP}:{self.model}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"steps": self.steps, "guidance": self.guidance, "window_s": self.window_s}

    @property
    def rate_hz(self) -> int:
        return int(self.pipeline.sample_rate)

    @property
    def hop(self) -> int:
        return round(self.rate_hz / float(self.pipeline.latents_per_second))

    @property
    def longest(self) -> int:
        return max(2, round(self.window_s * self.rate_hz / self.hop))

    @property
    def overlap(self) -> int:
        return min(round(OVERLAP_S * self.rate_hz / self.hop), self.longest // 4)

    def generate(self, brief: Brief, window: Window, before: Kept | None, seed: int, tell: Tell) -> Kept:
        import torch

        if brief.render is None:
            raise InputError("ACE-Step listens to a rendering of the score, and there is none; give one")
        n_samples = len(window) * self.hop
        rendered = brief.render(window.first * self.hop / self.rate_hz, n_samples, self.rate_hz)
        rendered = rendered / max(float(np.abs(rendered).max(initial=0.0)), 1e-6) * np.float32(0.7)

        def step_done(_: Any, step: int, __: Any, values: dict[str, Any]) -> dict[str, Any]:
            tell((step + 1) / self.steps)
            return values

        # The pipeline draws from the global random state as well as from the generator: its encoder samples.
        with quietly(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = self.pipeline(
                prompt=brief.text, lyrics="", task_type="cover", src_audio=torch.from_numpy(rendered.T.copy()),
                audio_duration=n_samples / self.rate_hz, bpm=round(brief.qpm), keyscale=key_name(brief),
                timesignature=str(brief.beats), num_inference_steps=self.steps, guidance_scale=self.guidance,
                generator=torch.Generator().manual_seed(seed), output_type="pt", callback_on_step_end=step_done,
            )  # fmt: skip
        sound = made.audios[0].float().cpu().numpy().T  # (samples, channels)
        out = np.zeros((n_samples, sound.shape[1]), dtype=np.float32)
        n = min(n_samples, len(sound))  # the last latent may be cut off
        out[:n] = sound[:n]
        return out

    def decode(self, kept: Kept) -> Frames:
        sound: Frames = np.asarray(kept, dtype=np.float32)
        return sound


def key_name(brief: Brief) -> str | None:
    """The key as ACE-Step writes it, such as "A minor"; None where there is none."""
    return None if brief.key is None else f"{_TONICS[brief.key.tonic]} {'minor' if brief.key.is_minor else 'major'}"
