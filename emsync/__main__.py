"""The program `emsync`, which is also `python -m emsync`.

It is separate from `emsync.cli.main`, so that Ctrl-C is handled from the first moment, while that is imported.
"""

import sys


def main() -> int:
    """Run the command line on the program's own arguments and return its exit code; see `emsync.cli.main.main`.

    Ctrl-C gives one line and exit code 130. Once the command is done, it ends the process at once.
    """
    try:
        from emsync.cli.main import main as run

        code = run()
    except KeyboardInterrupt:
        print("emsync: interrupted", file=sys.stderr, flush=True)
        code = 130
    from signal import SIG_DFL, SIGINT, signal

    signal(SIGINT, SIG_DFL)
    # After an interrupt inside an `exec` of a text (as named tuples are made), Python ends as if killed by it, although
    # it was caught; another such call resets that.
    exec("")
    return code


if __name__ == "__main__":
    sys.exit(main())
