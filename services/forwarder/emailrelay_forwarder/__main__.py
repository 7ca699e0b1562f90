"""``python -m emailrelay_forwarder`` is the command ``emailrelay-forwarder``."""

import sys

from emailrelay_forwarder.cli import main

sys.exit(main())
