"""``python -m emailrelay_monitor`` is the command ``emailrelay-monitor``."""

import sys

from emailrelay_monitor.cli import main

sys.exit(main())
