"""Long sound from overlapping windows, block by block.

    windows = plan_windows(n_steps=4000, longest=1500, overlap=500)
    for block in joined(windows, sound_of, hop=640, n_frames=2_560_000): ...

A step is a code of an audio codec or a latent of a diffusion model; it covers `hop` samples. Every window but the first
begins with `known` steps of the window before it. In the middle of them one sound fades into the other.

The fade keeps the power. For two sounds that have nothing in common, that is the sine and cosine of equal power. Two
windows that were decoded from the same codes are nearly the same sound, and equal power would make them up to 3 dB
louder; so the gains are divided by the square root of 1 + r sin 2θ, r being the measured correlation of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError, ModelError

Frames = npt.NDArray[np.float32]

#: A fade takes at most this share of the steps that two windows have in common.
_FADE_SHARE: Final = 0.5


@dataclass(frozen=True)
class Window:
    """Steps `first` to `stop` of a piece, of which the first `known` are those that end the window before."""

    index: int
    first: int
    stop: int
    known: int = 0

    def __len__(self) -> int:
        return self.stop - self.first


def plan_windows(n_steps: int, longest: int, overlap: int) -> tuple[Window, ...]:
    """Windows of at most `longest` steps that cover `n_steps`, each with `overlap` steps of the one before."""
    if n_steps < 1 or not 0 <= overlap < longest:
        raise InputError(f"{n_steps} steps cannot be cut into windows of {longest} that share {overlap}")
    found = [Window(0, 0, min(longest, n_steps))]
    while found[-1].stop < n_steps:
        first = found[-1].stop - overlap
        found.append(Window(len(found), first, min(first + longest, n_steps), overlap))
    return tuple(found)


def joined(
    windows: Sequence[Window], sound_of: Callable[[Window], Frames], *, hop: int, n_frames: int
) -> Iterator[Frames]:
    """The sound of all windows as blocks (n, channels), `n_frames` samples in all; what is over is cut off.

    sound_of: gives the sound of a window, (len(window) * hop, channels). One window is in memory at a time, and what
    the next one fades from. Raises `ModelError` for a sound of another length, or one that is not finite.
    """
    done = 0
    tail: Frames | None = None
    for window, following in zip(windows, [*windows[1:], None], strict=True):
        sound = sound_of(window)
        if len(sound) != len(window) * hop:
            raise ModelError(
                f"the model gave {len(sound)} samples for {len(window)} steps of {hop}; choose another model"
            )
        if not np.isfinite(sound).all():
            raise ModelError("the model gave sound that is not finite; choose another model, or one of float32")
        if tail is not None:
            n = round(len(tail) * _FADE_SHARE)
            at = (len(tail) - n) // 2
            mixed = faded(tail[at : at + n], sound[at : at + n])
            sound = np.concatenate([tail[:at], mixed, sound[at + n :]])
        held = 0 if following is None else following.known * hop
        ready, tail = sound[: len(sound) - held], sound[len(sound) - held :] if held else None
        ready = ready[: n_frames - done]
        done += len(ready)
        yield ready
    if done < n_frames:
        raise ModelError(f"the windows end after {done} of {n_frames} samples")


def faded(before: Frames, after: Frames) -> Frames:
    """One sound fading into another at equal power, (n, channels) each, corrected for how alike they are."""
    n = len(before)
    if not n:
        return after
    a, b = before.astype(np.float64), after.astype(np.float64)
    energy = math.sqrt(float((a * a).sum() * (b * b).sum()))
    alike = float((a * b).sum()) / energy if energy > 0 else 0.0
    angle = (np.arange(n) + 0.5) / n * (math.pi / 2)
    # Sounds in opposite phase would ask for endless gain: no correction upwards.
    level = 1 / np.sqrt(1 + max(alike, 0.0) * np.sin(2 * angle))
    out = a * (np.cos(angle) * level)[:, None] + b * (np.sin(angle) * level)[:, None]
    return np.asarray(out, dtype=np.float32)
