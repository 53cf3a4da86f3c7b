"""The root of the command line: one table of commands, each imported only when it is called.

Conventions
- Exit codes: 0 success; 2 an error that the user can fix, printed as one sentence; 130 interrupted; 141 broken pipe.
- Anything else is a bug in emsync and keeps its traceback. `EMSYNC_DEBUG=1` shows the traceback of every error.
- `emsync --help` reads the table and imports no command, so that it is instant.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import click

from emsync import __version__
from emsync.errors import EmsyncError, printable

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 2, 130, 141


@dataclass(frozen=True)
class Entry:
    """A command: the module it is in, and the line that `emsync --help` shows for it."""

    name: str
    module: str
    help: str
    attribute: str = "command"

    def load(self) -> click.Command:
        """Import the command's module. The line in the table becomes the command's short help."""
        command: click.Command = getattr(importlib.import_module(self.module), self.attribute)
        command.short_help = self.help
        return command


#: Every command, in the order of `emsync --help`.
COMMANDS: tuple[Entry, ...] = (
    Entry("compose", "emsync.cli.compose", "Compose a MIDI file for a video or a list of cuts."),
    Entry("revise", "emsync.cli.revise", "Recompose a part of a MIDI file, and leave the rest unchanged."),
    Entry("arrange", "emsync.cli.arrange", "Add the missing instruments to a melody."),
    Entry("render", "emsync.cli.render", "Render a MIDI file to sound."),
    Entry("produce", "emsync.cli.produce", "Let a music model play a MIDI file."),
    Entry("anchor", "emsync.cli.anchor", "Describe a whole piece or film in four lines."),
    Entry("mux", "emsync.cli.mux", "Lay sound under a film."),
    Entry("soundfonts", "emsync.cli.soundfonts", "List the SoundFonts on this machine."),
    Entry("analyze", "emsync.cli.analyze", "Find a video's length, frame rate, cuts and mood."),
    Entry("controls", "emsync.cli.controls", "Read controls over time from music: loudness, density, melody, rhythm."),
    Entry("deliver", "emsync.cli.deliver", "Make a MIDI file ready for a DAW: timecode, levels, chord symbols."),
    Entry("notate", "emsync.cli.notate", "Write a MIDI file as a score for players (MusicXML)."),
    Entry("cuts", "emsync.cli.cuts", "Convert a cut list from one format to another."),
    Entry("plot", "emsync.cli.plot", "Draw a MIDI file with its cuts, chords and mood."),
    Entry("page", "emsync.cli.page", "Write a web page: film, sound and notes."),
    Entry("demo", "emsync.cli.demo", "Make a short film and compose for it."),
    Entry("prepare", "emsync.cli.prepare", "Build training archives from MIDI files and Lakh pianorolls."),
    Entry("train", "emsync.cli.train", "Train a model from a preset."),
    Entry("train-affect", "emsync.cli.train_affect", "Train a head that reads films' moods."),
    Entry("train-emotions", "emsync.cli.train_emotions", "Train a classifier of films' emotions."),
    Entry("train-film-encoder", "emsync.cli.train_film_encoder", "Train an encoder that predicts film music's curves."),
    Entry("train-adapter", "emsync.cli.train_adapter", "Train a mood adapter for a music model."),
    Entry("evaluate", "emsync.cli.evaluate", "Measure a model on an archive of songs."),
    Entry("survey", "emsync.cli.survey", "Make a blind ranking study, and evaluate its answers."),
    Entry("export", "emsync.cli.export", "Turn a trained model into one that runs without torch."),
    Entry("fit-copying", "emsync.cli.fit_copying", "Fit how much a model may copy from the piece itself."),
    Entry("fit-critic", "emsync.cli.fit_critic", "Fit the critic that chooses among takes."),
)

#: The extra that installs each optional package, by the name it is imported under.
EXTRA_OF = {
    "torch": "train",
    "accelerate": "train",
    "miditok": "train",
    "onnx": "train",
    "safetensors": "train",
    "symusic": "train",
    "sklearn": "train",
    "transformers": "vision",
    "diffusers": "acestep",
    "fluidsynth": "audio",
    "soundfile": "audio",
    "pyloudnorm": "audio",
    "mido": "interop",
    "pretty_midi": "interop",
    "pypianoroll": "interop",
    "music21": "theory",
}

#: What to do about a system's error that reached the root; others name the file and the system's reason only.
_REMEDIES = {
    errno.ENOSPC: "free some space or write elsewhere",
    errno.EDQUOT: "free some space or write elsewhere",
    errno.EROFS: "write elsewhere",
    errno.EACCES: "change its permissions or choose another place",
    errno.EPERM: "change its permissions or choose another place",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOENT: "check the name",
}


class LazyGroup(click.Group):
    """A click group that reads `COMMANDS` and imports a command when it is called, not to list it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return [entry.name for entry in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None if there is none."""
        for entry in COMMANDS:
            if entry.name == cmd_name:
                return entry.load()
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(entry.name, entry.help) for entry in COMMANDS])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="'emsync COMMAND --help' says more about one command. EMSYNC_DEBUG=1 shows where an error came from.",
)
@click.version_option(__version__, prog_name="emsync", message="%(prog)s %(version)s")
def cli() -> None:
    """Compose editable, multi-track MIDI for a video, with chords on its cuts."""


def _say(sentence: str) -> None:
    """Print one line on standard error; an error's text may come from a file and hold anything."""
    print("emsync:", printable(" ".join(sentence.split())), file=sys.stderr, flush=True)


def _usage_sentence(error: click.ClickException) -> str:
    """Click's message as one sentence, with the help page to read."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message}; see '{context.command_path} --help'" if context is not None else message


def _missing_sentence(error: ModuleNotFoundError) -> str | None:
    """What to install for a missing optional package; None for a module that no extra installs."""
    name = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(name)
    return f"{name} is not installed; run: pip install 'emsync[{extra}]'" if extra else None


def _system_sentence(error: OSError) -> str | None:
    """An error of the operating system as one sentence; None if it names no file, since it may be a bug in emsync."""
    remedy = _REMEDIES.get(error.errno or 0)
    if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE):
        return None
    reason = (error.strerror or str(error)).lower()
    sentence = reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"
    return f"{sentence}; {remedy}" if remedy else sentence


def _sentence(error: BaseException) -> str | None:
    """The sentence to print for `error`; None for a bug, which keeps its traceback."""
    if isinstance(error, EmsyncError):
        return str(error) or type(error).__name__
    if isinstance(error, click.ClickException):
        return _usage_sentence(error)
    if isinstance(error, ModuleNotFoundError):
        return _missing_sentence(error)
    if isinstance(error, MemoryError):
        return "memory ran out; close other programs, or give a shorter video or a smaller batch"
    if isinstance(error, OSError):
        return _system_sentence(error)
    return None


def _escape_what_the_terminal_lacks() -> None:
    """Print characters that the terminal's encoding lacks, as in names of files, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _leave_pipe() -> int:
    """The reader of our output is gone: redirect standard output to nothing, so that Python's last flush is silent."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
    return EXIT_BROKEN_PIPE


@contextmanager
def _remembering_interrupts() -> Iterator[list[int]]:
    """Yield a list that is empty until Ctrl-C is pressed.

    An interrupt that comes while a compiled module is imported leaves it as an `ImportError` or another error.
    """
    came: list[int] = []
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield came
        return

    def interrupt(number: int, _: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (default: `sys.argv[1:]`) and return its exit code.

    Errors that the user can fix become one sentence on standard error and exit code 2. Bugs raise.
    """
    if "_EMSYNC_COMPLETE" in os.environ:  # the shell asks for completions; click answers and exits by itself
        cli.main(prog_name="emsync")
    _escape_what_the_terminal_lacks()
    with _remembering_interrupts() as interrupts:
        try:
            with cli.make_context("emsync", list(sys.argv[1:] if argv is None else argv)) as context:
                cli.invoke(context)
            sys.stdout.flush()
        except click.exceptions.Exit as leave:
            return leave.exit_code
        except (KeyboardInterrupt, click.Abort):
            return _interrupted()
        except BrokenPipeError:
            return _leave_pipe()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return EXIT_ERROR
        except Exception as error:
            if interrupts and not isinstance(error, EmsyncError):
                return _interrupted()
            return _explain(error)
    return 0


def _interrupted() -> int:
    _say("interrupted")
    return EXIT_INTERRUPTED


def _explain(error: Exception) -> int:
    """Print what the user can do about `error`; a bug is raised again."""
    sentence = _sentence(error)
    if sentence is None:
        raise error
    if os.environ.get("EMSYNC_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    _say(f"error: {sentence}")
    return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())
