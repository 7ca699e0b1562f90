"""``python -m emailrelay_console`` is the command ``emailrelay-console``."""

import sys

from emailrelay_console.cli import main

sys.exit(main())
