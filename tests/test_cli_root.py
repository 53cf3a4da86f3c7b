"""The root of the command line: laziness, help, and one sentence for every error."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import emsync
from emsync.cli import main as root
from emsync.cli import options, reference
from emsync.cli.say import say
from emsync.errors import EmsyncError, InputError, MissingExtraError, OutputError

REPOSITORY = Path(__file__).resolve().parents[1]

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make the table hold one command, `try`, whose callback is given."""

    def put(callback: Callable[..., Any], *parameters: Callable[..., Any]) -> None:
        for parameter in reversed(parameters):
            callback = parameter(callback)
        module = types.ModuleType("emsync_fake_command")
        module.command = click.command(help="Try something.")(callback)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "emsync_fake_command", module)
        monkeypatch.setattr(root, "COMMANDS", (root.Entry("try", "emsync_fake_command", "Try it."),))

    return put


def raising(error: BaseException) -> Callable[[], None]:
    def callback() -> None:
        raise error

    return callback


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own, from the root of the repository."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_command_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert root.main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for entry in root.COMMANDS:
        assert f"{entry.name} {entry.help}" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert root.main(["--version"]) == 0
    assert capsys.readouterr().out == f"emsync {emsync.__version__}\n"


def test_no_arguments_show_the_help_and_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert root.main([]) == 2
    assert "compose" in capsys.readouterr().err


def test_help_imports_nothing_heavy_and_no_command() -> None:
    program = (
        "import sys; from emsync.cli.main import main; main(['--help']); "
        "print('MODULES', *sorted(sys.modules), file=sys.stderr)"
    )
    done = run("-c", program)
    assert done.returncode == 0, done.stderr
    modules = set(done.stderr.partition("MODULES")[2].split())
    heavy = {"numpy", "torch", "av", "matplotlib", "scenedetect", "cv2", "onnxruntime", "symusic", "mido", "tqdm"}
    assert "emsync.cli.main" in modules
    assert not modules & (heavy | {entry.module for entry in root.COMMANDS})


def test_module_run_is_the_command() -> None:
    assert run("-m", "emsync", "--version").stdout == f"emsync {emsync.__version__}\n"


@pytest.mark.parametrize("entry", root.COMMANDS, ids=lambda entry: entry.name)
def test_every_command_has_help_for_itself_and_each_option(entry: root.Entry) -> None:
    command = entry.load()
    assert command.help
    assert command.get_short_help_str(200) == entry.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts} has no help"


@pytest.mark.parametrize("entry", root.COMMANDS, ids=lambda entry: entry.name)
def test_every_command_is_named_in_the_readme(entry: root.Entry) -> None:
    assert f"emsync {entry.name}" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_no_command_of_the_readme_writes_what_another_wrote() -> None:
    """Typed one after the other, none is refused because its output exists already."""
    page = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    written: list[str] = []
    for line in re.findall(r"^emsync (?:compose|render|mux|plot) .*$", page, re.MULTILINE):
        words = shlex.split(line, comments=True)
        if "--overwrite" in words or "--jobs" in words:
            continue
        outputs = [words[i + 1] for i, word in enumerate(words) if word in ("-o", "--wav", "--mp4", "--plot", "--html")]
        if words[1] == "compose" and "-o" not in words:
            outputs.append("emsync.mid" if "--duration" in words else Path(words[2]).with_suffix(".mid").name)
        assert outputs, line
        written += outputs
    assert len(written) > 10
    assert sorted(set(written)) == sorted(written)


def test_reference_page_is_current() -> None:
    written = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == reference.reference(), "run `make reference`"


def test_reference_gives_usage_help_and_defaults(install: Install) -> None:
    install(lambda seed, song: None, options.seed, click.argument("song"))
    page = reference.reference()
    assert "- [`emsync try`](#emsync-try): Try it." in page
    assert "## emsync try\n\n```\nemsync try [OPTIONS] SONG\n```\n\nTry something.\n" in page
    assert re.search(r"- `--seed N`: Random seed; the same seed gives the same music. .*default: 0", page)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("cut at 93.2 s is past the end"), "cut at 93.2 s is past the end"),
        (EmsyncError("two\nlines"), "two lines"),
        (EmsyncError(), "EmsyncError"),
        (OutputError("song.mid exists already"), "song.mid exists already"),
        (MissingExtraError("run: pip install 'emsync[train]'"), "run: pip install 'emsync[train]'"),
        (ModuleNotFoundError("x", name="torch.nn"), "torch is not installed; run: pip install 'emsync[train]'"),
        (MemoryError(), "memory ran out; close other programs, or give a shorter video or a smaller batch"),
        (OSError(errno.ENOSPC, "No space left"), "no space left; free some space or write elsewhere"),
        (
            PermissionError(errno.EACCES, "Permission denied", "out/a.mid"),
            "out/a.mid: permission denied; change its permissions or choose another place",
        ),
        (OSError(errno.EIO, "Input/output error", "a.mid"), "a.mid: input/output error"),
        (click.ClickException("no."), "no"),
    ],
)
def test_mendable_errors_are_one_sentence(
    install: Install, capsys: pytest.CaptureFixture[str], error: Exception, sentence: str
) -> None:
    install(raising(error))
    assert root.main(["try"]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"emsync: error: {sentence}\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    "error",
    [ValueError("ours"), OSError("no number, no file"), ModuleNotFoundError("x", name="emsync.nowhere")],
    ids=lambda error: type(error).__name__,
)
def test_a_bug_keeps_its_traceback(install: Install, error: Exception) -> None:
    install(raising(error))
    with pytest.raises(type(error), match=re.escape(str(error))):
        root.main(["try"])


def test_debug_shows_where_an_error_came_from(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMSYNC_DEBUG", "1")
    install(raising(InputError("bad")))
    assert root.main(["try"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Traceback")
    assert error.endswith("emsync: error: bad\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()], ids=lambda error: type(error).__name__)
def test_interrupting_exits_with_130(
    install: Install, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    install(raising(error))
    assert root.main(["try"]) == 130
    assert capsys.readouterr().err == "emsync: interrupted\n"


#: Runs `emsync ARGUMENTS` as the installed program does, and presses Ctrl-C when the module `AT` is imported.
INTERRUPTED = """
import importlib.abc, os, signal, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == os.environ["AT"]:
            if os.environ.get("AS"):  # as the import of a compiled module does
                try:
                    signal.raise_signal(signal.SIGINT)
                except KeyboardInterrupt:
                    raise getattr(__builtins__, os.environ["AS"])("initialization failed")
            exec("import signal; signal.raise_signal(signal.SIGINT)")
        return None

sys.meta_path.insert(0, Finder())
sys.argv = ["emsync", *sys.argv[1:]]
from emsync.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "becomes"),
    [
        ("emsync.cli.main", ""),
        ("click", ""),
        ("emsync.errors", ""),
        ("emsync.cli.plot", ""),
        ("emsync.plot_piece", ""),
        ("numpy", ""),
        ("numpy", "ImportError"),
        ("numpy", "SystemError"),
    ],
)
def test_interrupting_while_modules_are_imported(module: str, becomes: str, tmp_path: Path) -> None:
    done = run("-c", INTERRUPTED, "plot", str(tmp_path / "song.mid"), AT=module, AS=becomes)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "emsync: interrupted\n")


def test_an_interrupt_that_a_command_answers_hides_no_error(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    def callback() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise OutputError("what was done so far could not be saved") from None

    install(callback)
    assert root.main(["try"]) == 2
    assert capsys.readouterr().err == "emsync: error: what was done so far could not be saved\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_text_commands_a_terminal(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(lambda: (say("a\x1b[31m\a\r.mid\nb\x9b"), say("\u202e", err=True)))
    assert root.main(["try"]) == 0
    said = capsys.readouterr()
    assert said.out == "a\\x1b[31m\\x07\\r.mid\nb\\x9b\n"
    assert said.err == "\\u202e\n"


def test_every_command_prints_through_say() -> None:
    for path in (REPOSITORY / "cli").glob("*.py"):
        if path.name not in ("say.py", "main.py", "reference.py"):
            assert not re.search(r"\b(click\.s?echo|print)\(", path.read_text(encoding="utf-8")), path.name


def test_importing_the_package_imports_nothing_else() -> None:
    done = run("-S", "-c", "import sys; before = set(sys.modules); import emsync; print(*set(sys.modules) - before)")
    assert set(done.stdout.split()) == {"emsync", "__future__"}


@pytest.mark.parametrize("arguments", [["try", "--model", ""], ["try", "-o", ""], ["try", ""]], ids=" ".join)
def test_an_empty_path_is_not_the_current_folder(
    install: Install, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    song = click.argument("song", type=options.FILE, required=False)
    install(lambda model, output, song: None, options.model, options.output("FILE", "Where to write."), song)
    assert root.main(arguments) == 2
    assert re.fullmatch(
        r"emsync: error: Invalid value for .*: the name is empty; give that of a file or a folder, .*\n",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize("entry", root.COMMANDS, ids=lambda entry: entry.name)
def test_every_path_is_checked_for_being_empty(entry: root.Entry) -> None:
    paths = [each for each in entry.load().params if isinstance(each.type, click.Path)]
    assert paths or entry.name == "soundfonts"
    for each in paths:
        assert each.type is options.FILE, f"give {each.name} the type options.FILE"


def test_a_command_that_leaves_with_a_code_keeps_it(install: Install) -> None:
    install(lambda: click.get_current_context().exit(7))
    assert root.main(["try"]) == 7


def test_what_a_command_returns_is_not_an_exit_code(install: Install) -> None:
    install(lambda: 7)
    assert root.main(["try"]) == 0


def test_a_reader_that_leaves_is_no_error() -> None:
    program = (
        "import sys, types, click; from emsync.cli import main as root; module = types.ModuleType('talk')\n"
        "module.command = click.command()(lambda: [print('x' * 1000) for _ in range(1000)])\n"
        "sys.modules['talk'] = module; root.COMMANDS = (root.Entry('talk', 'talk', 'Talk.'),)\n"
        "sys.exit(root.main(['talk']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "No such command 'nothing'.*; see 'emsync --help'"),
        (["try", "--what"], "No such option.*--what.*; see 'emsync try --help'"),
        (
            ["try", "--seed", "abc"],
            "Invalid value for '--seed': 'abc' is not a valid integer.*; see 'emsync try --help'",
        ),
        (["try", "--seed", "-1"], "Invalid value for '--seed': -1 is not in the range.*"),
        (["try", "--seed", str(2**63)], "Invalid value for '--seed': 9223372036854775808 is not in the range.*"),
        (["try", "--duration", "nan"], "Invalid value for '--duration': 'nan' is not a finite number; .*"),
        (["try", "--duration", "inf"], "Invalid value for '--duration': 'inf' is not a finite number; .*"),
        (["try", "--duration", "0"], "Invalid value for '--duration': 0.* is not in the range.*"),
        (["try", "--duration", "abc"], "Invalid value for '--duration': 'abc' is not a valid .*"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_errors_are_one_sentence(
    install: Install, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    install(lambda seed, duration: None, options.seed, options.duration("How long."))
    assert root.main(arguments) == 2
    assert re.fullmatch(f"emsync: error: {sentence}\n", capsys.readouterr().err)


def test_shared_options_arrive_with_their_types(install: Install) -> None:
    seen: dict[str, Any] = {}
    install(
        lambda **given: seen.update(given),
        options.output("SONG.mid", "Where to write."),
        options.overwrite,
        options.seed,
        options.quiet,
        options.duration("How long.", default=30.0),
        options.model,
    )
    assert root.main(["try"]) == 0
    assert seen == {"output": None, "overwrite": False, "seed": 0, "quiet": False, "duration": 30.0, "model": None}
    assert root.main(["try", "-o", "a.mid", "--overwrite", "--seed", "5", "-q", "--duration", "8", "--model", "m"]) == 0
    assert seen == {
        "output": Path("a.mid"),
        "overwrite": True,
        "seed": 5,
        "quiet": True,
        "duration": 8.0,
        "model": Path("m"),
    }
