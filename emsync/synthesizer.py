"""FluidSynth, through pyfluidsynth's bindings, without an audio device.

    synth = Synthesizer(soundfont, 44100)
    synth.play(data)                # a MIDI file's bytes
    block = synth.frames(4096)      # (4096, 2), sounds of [-1, 1]
    synth.delete()

Blocks are (frames, 2) float32. The player's clock is the rendered sound's, so rendering is as fast as the machine and
gives the same samples each time. Needs the extra `audio` and the FluidSynth library.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError

Frames = npt.NDArray[np.float32]

#: FluidSynth's own gain: far from clipping; the level is set afterwards.
GAIN: Final = 0.5
#: FluidSynth computes this many frames at a time; all but the last block should be multiples of it.
GRAIN: Final = 64
_PLAYER_DONE: Final = 3


class Synthesizer:
    """A synthesizer with one SoundFont; `groups` separate outputs, one for each channel modulo `groups`."""

    def __init__(self, bank: Path, rate_hz: int, groups: int = 1) -> None:
        import fluidsynth

        self._module: Any = fluidsynth
        self.groups = groups
        settings = {
            "player.timing-source": "sample",
            "synth.lock-memory": 0,
            "synth.cpu-cores": 1,
            "synth.audio-groups": groups,
            "synth.audio-channels": groups,
            "synth.effects-groups": groups,
        }
        self._synth = fluidsynth.Synth(gain=GAIN, samplerate=float(rate_hz), **settings)
        self._player: Any = None
        self._write = fluidsynth.cfunc(
            "fluid_synth_write_float", ctypes.c_int,
            ("synth", ctypes.c_void_p, 1), ("len", ctypes.c_int, 1), ("lbuf", ctypes.c_void_p, 1),
            ("loff", ctypes.c_int, 1), ("lincr", ctypes.c_int, 1), ("rbuf", ctypes.c_void_p, 1),
            ("roff", ctypes.c_int, 1), ("rincr", ctypes.c_int, 1),
        )  # fmt: skip
        self._process = fluidsynth.cfunc(
            "fluid_synth_process", ctypes.c_int,
            ("synth", ctypes.c_void_p, 1), ("len", ctypes.c_int, 1), ("nfx", ctypes.c_int, 1),
            ("fx", ctypes.c_void_p, 1), ("nout", ctypes.c_int, 1), ("out", ctypes.c_void_p, 1),
        )  # fmt: skip
        # 1: channels without a program change have a piano, or drums, instead of nothing
        if self._synth.sfload(os.fspath(bank), 1) < 0:
            self.delete()
            raise InputError(f"FluidSynth cannot read the SoundFont {bank}; give --soundfont another")

    def play(self, data: bytes) -> None:
        """Begin to play a MIDI file's bytes."""
        module = self._module
        self._player = module.new_fluid_player(self._synth.synth)
        add = module.cfunc(
            "fluid_player_add_mem", ctypes.c_int,
            ("player", ctypes.c_void_p, 1), ("buffer", ctypes.c_char_p, 1), ("len", ctypes.c_size_t, 1),
        )  # fmt: skip
        self._data = data  # must live as long as the player
        if add(self._player, data, len(data)) != 0 or module.fluid_player_play(self._player) != 0:
            raise InputError("FluidSynth cannot play this MIDI file; open it in a DAW and save it again")

    def is_done(self) -> bool:
        """Whether the file has been played to its end."""
        return bool(self._module.fluid_player_get_status(self._player) == _PLAYER_DONE)

    def frames(self, n: int) -> Frames:
        """The next n frames, (n, 2)."""
        out = np.zeros((n, 2), dtype=np.float32)
        place = out.ctypes.data
        self._write(self._synth.synth, n, place, 0, 2, place, 1, 2)
        return out

    def grouped(self, n: int) -> Frames:
        """The next n frames of each output, (groups, n, 2), with its own reverb and chorus.

        All voices are played together, so they interact as in `frames`: the outputs' sum is what `frames` gives.
        """
        out = np.zeros((self.groups, 2, n), dtype=np.float32)
        places = [out[group, side].ctypes.data for group in range(self.groups) for side in range(2)]
        dry = (ctypes.c_void_p * len(places))(*places)
        # The effects of each group are two stereo pairs, reverb and chorus, and are added to the group itself.
        wet_places = [places[2 * group + side] for group in range(self.groups) for _ in range(2) for side in range(2)]
        wet = (ctypes.c_void_p * len(wet_places))(*wet_places)
        self._process(self._synth.synth, n, len(wet_places), ctypes.addressof(wet), len(places), ctypes.addressof(dry))
        return np.ascontiguousarray(out.transpose(0, 2, 1))

    def delete(self) -> None:
        """Free everything."""
        if self._player is not None:
            self._module.fluid_player_stop(self._player)
            self._module.delete_fluid_player(self._player)
            self._player = None
        self._synth.delete()


def groups_for(channels: Collection[int]) -> int:
    """The fewest outputs that keep these channels (0 to 15) apart, each on the output `channel % groups`."""
    return next(n for n in range(1, 17) if len({channel % n for channel in channels}) == len(channels))
