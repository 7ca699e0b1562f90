"""``python -m emailrelay.setup`` is the command ``emailrelay-setup``."""

import sys

from emailrelay.setup.cli import main

if __name__ == "__main__":
    sys.exit(main())
