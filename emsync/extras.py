"""What optional packages a command needs, so that one sentence names all of them before anything is read."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Final

from emsync.errors import MissingExtraError

#: What packages are called where they are installed, if not as they are imported.
_CALLED: Final = {"fluidsynth": "pyfluidsynth", "sklearn": "scikit-learn"}

#: What is needed to train, to read films with models, to let a model play, and to render.
TRAIN: Final = ("train", "torch")
LEARN: Final = ("train", "sklearn")
VISION: Final = ("vision", "torch", "transformers")
MUSICGEN: Final = ("musicgen", "torch", "transformers")
ACE_STEP: Final = ("acestep", "torch", "transformers", "diffusers", "accelerate")
RENDER: Final = ("audio", "fluidsynth", "soundfile")
LOUDNESS: Final = ("audio", "pyloudnorm")
CONTROLLERS: Final = ("interop", "mido")
CLUSTER: Final = ("cluster", "ray")


def need(*uses: tuple[str, ...]) -> None:
    """Look for everything that is needed, without importing it.

    - uses: an extra and packages of it, such as `VISION`.

    Raises `MissingExtraError`, which names all packages that are missing, and every extra that brings one of them.
    """
    lacking = {use: [name for name in use[1:] if importlib.util.find_spec(name) is None] for use in uses}
    names = dict.fromkeys(_CALLED.get(name, name) for found in lacking.values() for name in found)
    if names:
        *most, last = names
        listed = f"{', '.join(most)} and {last} are" if most else f"{last} is"
        extras = dict.fromkeys(use[0] for use, found in lacking.items() if found)
        raise MissingExtraError(f"{listed} not installed; run: pip install 'emsync[{','.join(extras)}]'")


def need_of(uses: Mapping[tuple[str, ...], bool]) -> None:
    """`need` for those uses that are true."""
    need(*(use for use, wanted in uses.items() if wanted))
