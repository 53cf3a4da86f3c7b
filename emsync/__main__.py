"""`python -m emsync` is the command `emsync`."""

import sys

from emsync.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
