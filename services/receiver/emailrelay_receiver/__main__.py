"""``python -m emailrelay_receiver`` is the command ``emailrelay-receiver``."""

import sys

from emailrelay_receiver.cli import main

sys.exit(main())
