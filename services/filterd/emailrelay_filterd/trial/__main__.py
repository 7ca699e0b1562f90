"""``python -m emailrelay_filterd.trial``."""

import sys

from emailrelay_filterd.trial.cli import main

if __name__ == "__main__":
    sys.exit(main())
