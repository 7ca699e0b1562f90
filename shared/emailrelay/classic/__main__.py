"""``python -m emailrelay.classic`` is the command ``emailrelay``."""

import sys

from emailrelay.classic.cli import main

sys.exit(main())
