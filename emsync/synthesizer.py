"""FluidSynth, through pyfluidsynth's bindings, without an audio device.

    synth = Synthesizer(soundfont, 44100)
    synth.play([data])              # a MIDI file's bytes, for each port
    block = synth.frames(4096)      # (4096, 2), sounds of [-1, 1]
    synth.delete()

Blocks are (frames, 2) float32. The player's clock is the rendered sound's, so rendering is as fast as the machine and
gives the same samples each time. Each port of a file has sixteen channels of its own, and obeys the `Order`s that
`midi_ports` writes into its file. What FluidSynth would print is kept in `messages`. Needs the extra `audio` and the
FluidSynth library.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.midi_format import DRUM_CHANNEL, TEXT
from emsync.midi_ports import Order

Frames = npt.NDArray[np.float32]

#: FluidSynth's own gain: far from clipping; the level is set afterwards.
GAIN: Final = 0.5
#: FluidSynth computes this many frames at a time; all but the last block should be multiples of it.
GRAIN: Final = 64
_PLAYER_DONE: Final = 3


#: What FluidSynth said since the latest synthesizer was made. Its log is one for the whole process.
_said: Final[deque[str]] = deque(maxlen=1000)
#: The functions that FluidSynth calls, which must live as long as it may call them.
_kept: Final[dict[str, Any]] = {}
_LEVELS: Final = 5
_SYSTEM: Final = 0xF0
#: Where scales are kept, one a port.
_TUNING_BANK: Final = 127


class Synthesizer:
    """A synthesizer with one SoundFont; `groups` separate outputs, one for each channel modulo `groups`."""

    def __init__(self, bank: Path, rate_hz: int, groups: int = 1) -> None:
        import fluidsynth

        self._module: Any = fluidsynth
        self._log()
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
        self._players: list[Any] = []
        self._callbacks: list[Any] = []  # must live as long as the players
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

    @property
    def messages(self) -> tuple[str, ...]:
        """Warnings and errors of FluidSynth since this was made."""
        return tuple(_said)

    def _log(self) -> None:
        """Keep what FluidSynth would print on standard error."""
        _said.clear()
        if "log" not in _kept:
            kind = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
            _kept["log"] = kind(lambda level, text, data: _said.append((text or b"").decode("utf-8", "replace")))
            set_log = self._module.cfunc(
                "fluid_set_log_function", ctypes.c_void_p,
                ("level", ctypes.c_int, 1), ("fun", kind, 1), ("data", ctypes.c_void_p, 1),
            )  # fmt: skip
            for level in range(_LEVELS):
                set_log(level, _kept["log"], None)

    def play(self, ports: Sequence[bytes]) -> None:
        """Begin to play the bytes of a MIDI file, one file for each of its ports.

        The first port has the channels 0 to 15, the second 16 to 31, and so on; each has its drums on the tenth.
        """
        self._data = ports  # must live as long as the players
        for channel in range(16, 16 * len(ports)):
            self._make(channel, channel % 16 == DRUM_CHANNEL)
        add = self._module.cfunc(
            "fluid_player_add_mem", ctypes.c_int,
            ("player", ctypes.c_void_p, 1), ("buffer", ctypes.c_char_p, 1), ("len", ctypes.c_size_t, 1),
        )  # fmt: skip
        for port, data in enumerate(ports):
            player = self._module.new_fluid_player(self._synth.synth)
            self._players.append(player)
            self._listen(player, 16 * port)
            if add(player, data, len(data)) != 0:
                raise InputError("FluidSynth cannot play this MIDI file; open it in a DAW and save it again")
        for player in self._players:  # all begin with the same sample
            if self._module.fluid_player_play(player) != 0:
                raise InputError("FluidSynth cannot play this MIDI file; open it in a DAW and save it again")

    def _listen(self, player: Any, first: int) -> None:
        """Play a player's events on the channels from `first` on, and obey its texts."""
        module = self._module
        get_kind, get_channel = (
            module.cfunc(f"fluid_midi_event_get_{name}", ctypes.c_int, ("event", ctypes.c_void_p, 1))
            for name in ("type", "channel")
        )
        get_text = module.cfunc(
            "fluid_midi_event_get_text", ctypes.c_int,
            ("event", ctypes.c_void_p, 1), ("data", ctypes.POINTER(ctypes.c_void_p), 1),
            ("size", ctypes.POINTER(ctypes.c_int), 1),
        )  # fmt: skip
        set_channel = self._function("fluid_midi_event_set_channel", "chan")

        def played(synth: int, event: int) -> int:
            kind = get_kind(event)
            if kind == TEXT:
                data, size = ctypes.c_void_p(), ctypes.c_int()
                if get_text(event, data, size) == 0 and data.value:
                    self._obey(Order.read(ctypes.string_at(data.value, size.value)), first)
                return 0
            # The event belongs to the player, which may look at it again.
            channel = get_channel(event)
            if kind < _SYSTEM:
                set_channel(event, channel + first)
            result: int = module.fluid_synth_handle_midi_event(synth, event)
            set_channel(event, channel)
            return result

        callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(played)
        self._callbacks.append(callback)
        module.fluid_player_set_playback_callback(player, callback, self._synth.synth)

    def _obey(self, order: Order | None, first: int) -> None:
        """Make channels drum kits or not, or tune them; those of the order are counted from `first`."""
        if order is None:
            return
        synth = self._synth.synth
        if order.is_drum is None:
            scale = (ctypes.c_double * 12)(*(cents / 100 for cents in order.cents))
            bank, program = _TUNING_BANK, first // 16
            tune = self._module.cfunc(
                "fluid_synth_activate_octave_tuning", ctypes.c_int,
                ("synth", ctypes.c_void_p, 1), ("bank", ctypes.c_int, 1), ("prog", ctypes.c_int, 1),
                ("name", ctypes.c_char_p, 1), ("pitch", ctypes.POINTER(ctypes.c_double), 1), ("apply", ctypes.c_int, 1),
            )  # fmt: skip
            tune(synth, bank, program, b"scale", scale, 1)
            activate = self._function("fluid_synth_activate_tuning", "chan", "bank", "prog", "apply")
            for channel in order.channels:
                activate(synth, first + channel, bank, program, 1)
            return
        for channel in order.channels:
            self._make(first + channel, order.is_drum)

    def _make(self, channel: int, is_drum: bool) -> None:
        """Make a channel a drum kit, or none; its program stays."""
        _, _, program = self._synth.program_info(channel)
        self._function("fluid_synth_set_channel_type", "chan", "type")(self._synth.synth, channel, int(is_drum))
        self._synth.program_change(channel, program)

    def _function(self, name: str, *numbers: str) -> Any:
        """A function of FluidSynth of a pointer and some whole numbers."""
        arguments = [("it", ctypes.c_void_p, 1), *((number, ctypes.c_int, 1) for number in numbers)]
        return self._module.cfunc(name, ctypes.c_int, *arguments)

    def is_done(self) -> bool:
        """Whether the file has been played to its end."""
        return all(self._module.fluid_player_get_status(player) == _PLAYER_DONE for player in self._players)

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
        for player in self._players:
            self._module.fluid_player_stop(player)
            self._module.delete_fluid_player(player)
        self._players.clear()
        self._synth.delete()


def groups_for(channels: Collection[int]) -> int:
    """The fewest outputs that keep these channels (0 to 255) apart, each on the output `channel % groups`."""
    return next(n for n in range(1, 257) if len({channel % n for channel in channels}) == len(channels))
