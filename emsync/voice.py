"""Where speech is, by a small network for voice activity: silero-vad's ONNX file, run by ONNX Runtime without torch.

    detector = VoiceDetector(find_model())
    for block in blocks:                    # (n, 2) float32 at 48 kHz, n a multiple of 1536
        detector.probabilities(block)       # (n / 1536,): one each 32 ms

The network (silero-vad 5 and 6, MIT licence) takes 512 new samples at 16 kHz and the 64 before them, and keeps a state
of shape (2, 1, 128) from one call to the next. Speech is where its probability is at least `SPEECH`.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError

Frames = npt.NDArray[np.float32]

RATE_HZ: Final = 16_000
CHUNK: Final = 512
#: How many samples at 48 kHz make one chunk of the network.
HOP: Final = 3 * CHUNK
SPEECH: Final = 0.5
_CONTEXT: Final = 64
_INPUTS: Final = {"input", "state", "sr"}
#: The low-pass filter before every third sample is taken: 7 kHz, 95 taps, a Hamming window.
_TAPS: Final = 95


def find_model() -> Path | None:
    """The model of an installed silero-vad package, or None. The package itself, which needs torch, is not imported."""
    spec = importlib.util.find_spec("silero_vad")
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / "data" / "silero_vad.onnx"
        if path.is_file():
            return path
    return None


class VoiceDetector:
    """Finds speech in blocks that follow one another. Raises `InputError` for a file that is not such a network."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        remedy = "give silero_vad.onnx of silero-vad 5 or newer"
        if not Path(path).is_file():
            raise InputError(f"{path} is not a file; {remedy}")
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no root but this one
            raise InputError(f"{path} is not a network that ONNX Runtime can read; {remedy}") from error
        names = {each.name for each in self._session.get_inputs()}
        if names != _INPUTS or len(self._session.get_outputs()) != 2:
            raise InputError(f"{path} is another network, with the inputs {', '.join(sorted(names))}; {remedy}")
        self._path = path
        self._state: Any = np.zeros((2, 1, 128), dtype=np.float32)
        self._context = np.zeros(_CONTEXT, dtype=np.float32)
        at = np.arange(_TAPS) - _TAPS // 2
        taps = np.sinc(at * 2 * 7000 / 48000) * np.hamming(_TAPS)
        self._taps = (taps / taps.sum()).astype(np.float32)
        self._tail = np.zeros(_TAPS - 1, dtype=np.float32)

    def probabilities(self, block: Frames) -> npt.NDArray[np.float64]:
        """The probability of speech in each chunk of the next block, (n, 2) at 48 kHz, n a multiple of `HOP`."""
        if len(block) % HOP:
            raise ValueError(f"a block of {len(block)} samples is no multiple of {HOP}")
        mono = np.concatenate([self._tail, block.mean(axis=1, dtype=np.float32)])
        self._tail = mono[-(_TAPS - 1) :]
        low = np.convolve(mono, self._taps, "valid")[::3].astype(np.float32)
        found = np.zeros(len(block) // HOP)
        for i in range(len(found)):
            chunk = low[i * CHUNK : (i + 1) * CHUNK]
            given = {"input": np.concatenate([self._context, chunk])[None], "state": self._state}
            try:
                output, self._state = self._session.run(None, given | {"sr": np.array(RATE_HZ, dtype=np.int64)})
                found[i] = float(np.asarray(output).reshape(-1)[0])
            except Exception as error:
                raise InputError(f"{self._path} does not work as silero-vad's network does; give that one") from error
            self._context = chunk[-_CONTEXT:]
        return found
