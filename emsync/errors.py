"""The exception tree.

    EmsyncError              anything the user can fix; the command line prints it and exits with 2
    +-- InputError           a file, a cut list, a curve, an option that cannot be used as given
    |   +-- MidiError        a MIDI file that cannot be read, or a score that cannot be written as one
    |   +-- VideoError       a video that cannot be decoded
    |   +-- CorpusError      a corpus or archive of another schema, empty, or cut off
    +-- OutputError          a place that cannot be written, or that would be overwritten
    +-- ModelError           a model folder that is incomplete, or speaks another vocabulary
    +-- MissingExtraError    an optional dependency is not installed; says which extra brings it

A message states the value, the limit and the remedy, in one sentence. It may quote what comes out of a file: show it
with `printable`.
"""

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    """Text that is safe to print: control, formatting and unassigned characters and lone surrogates as `\\x1b`.

    Names from files may hold escape sequences that move a terminal's cursor or change its colours.
    """
    return "".join(
        each.encode("unicode_escape").decode("ascii") if unicodedata.category(each) in _HIDDEN else each
        for each in text
    )


class EmsyncError(Exception):
    """Root of every error that emsync raises for something its user can fix."""


class InputError(EmsyncError, ValueError):
    """A file, a list, a curve or an option that cannot be used as given."""


class MidiError(InputError):
    """A MIDI file that cannot be read, or a score that cannot be written as one."""


class VideoError(InputError):
    """A video that cannot be decoded."""


class CorpusError(InputError):
    """A corpus or an archive that is empty, cut off or of another schema."""


class OutputError(EmsyncError, OSError):
    """A place that cannot be written, or an existing file that would be overwritten."""


class ModelError(EmsyncError):
    """A model folder that is incomplete, or that was trained on another vocabulary."""


class MissingExtraError(EmsyncError, ImportError):
    """An optional dependency is missing; the message names the extra that brings it."""
