"""Check an installed emsync wheel in an environment without extras: its files, and that every module imports.

    python -I .ci/check_wheel.py dist/emsync-*.whl

A module that needs an extra must say which, or fail on a distribution that is known to be one; a module that no longer
needs its extra must leave the list below.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import warnings
import zipfile

#: Modules that may fail to import without an extra, and the extra each needs.
NEEDS_EXTRA: dict[str, str] = {
    "emsync.attention": "train",
    "emsync.fusion": "train",
    "emsync.lane_layers": "train",
    "emsync.model": "train",
    "emsync.mood_layers": "train",
    "emsync.tokenizer.event_sequence": "train",
    "emsync.tokenizer.midi_tokenizer": "train",
    "emsync.training.batches": "train",
    "emsync.training.low_rank": "train",
    "emsync.training.mood.emotion_classifier": "train",
    "emsync.training.mood.film_encoder": "train",
    "emsync.training.muon": "train",
    "emsync.training.objective": "train",
    "emsync.training.styles": "train",
    "emsync.training.train": "train",
}

#: What a default install must not have, and no module may import in passing.
ABSENT = (
    "torch", "accelerate", "miditok", "onnx", "safetensors", "symusic", "mido", "music21", "pretty_midi", "pypianoroll",
    "transformers", "diffusers", "fluidsynth", "soundfile", "pyloudnorm", "sklearn",
)  # fmt: skip

#: What the wheel must carry beside the modules.
WANTED = (
    "emsync/py.typed",
    "emsync/models/small/config.json",
    "emsync/models/small/vocabulary.json",
    "emsync/models/small/model.safetensors",
    "emsync/models/small/model.onnx",
    "emsync/web/piece.html",
    "emsync/web/piece.js",
    "emsync/web/roll.js",
    "emsync/web/shared.css",
    "emsync/web/shared.js",
    "emsync/web/survey.html",
    "emsync/web/survey.js",
    "emsync/training/small.toml",
    "emsync/music_mood/labeller.json",
    "emsync/music_mood/regressor.json",
    "emsync/music_mood/scale.json",
    "emsync/training/mood/judge.json",
)


def check_files(wheel: str) -> list[str]:
    """What is wrong with the wheel's list of files."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    faults = [f"the wheel puts {top} into site-packages, beside emsync" for top in sorted(tops - {"emsync"})]
    faults += [f"the wheel holds {name} twice" for name in sorted({n for n in names if names.count(n) > 1})]
    faults += [f"the wheel lacks {name}" for name in WANTED if name not in names]
    return faults


def check_modules() -> tuple[int, list[str]]:
    """How many modules of the installed package there are, and what is wrong with importing them."""
    import emsync

    names = ["emsync", *(module.name for module in pkgutil.walk_packages(emsync.__path__, "emsync."))]
    names = [name for name in names if not name.endswith("__main__")]
    faults = [f"{name} is listed as needing an extra, but does not exist" for name in NEEDS_EXTRA if name not in names]
    for name in names:
        extra = NEEDS_EXTRA.get(name)
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing = (error.name or "").partition(".")[0]
            if extra is None:
                faults.append(f"{name} does not import without extras: {error}")
            elif f"[{extra}]" not in str(error) and missing not in ABSENT:
                faults.append(f"{name} does not say that it needs the extra {extra}: {error}")
        else:
            if extra is not None:
                faults.append(f"{name} imports without the extra {extra}; take it off the list")
    return len(names), faults


def main() -> int:
    """Print what is wrong, and return the exit code."""
    warnings.simplefilter("error")
    present = [name for name in ABSENT if importlib.util.find_spec(name)]
    faults = [f"{name} is installed: this environment is not clean" for name in present]
    faults += check_files(sys.argv[1])
    count, module_faults = check_modules()
    faults += module_faults
    for fault in faults:
        print(f"check_wheel: {fault}", file=sys.stderr)
    if not faults:
        print(f"check_wheel: {count} modules, {len(NEEDS_EXTRA)} of them behind an extra; all as it should be")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
