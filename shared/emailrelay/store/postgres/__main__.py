"""``python -m emailrelay.store.postgres`` is ``emailrelay-store``."""

import sys

from emailrelay.store.postgres.cli import main

if __name__ == "__main__":
    sys.exit(main())
