"""`python -m spectra.cli`."""

import sys

from spectra.cli import main

if __name__ == "__main__":
    sys.exit(main())
