"""``python -m emailrelay_filterd`` is the command ``emailrelay-filterd``."""

import sys

from emailrelay_filterd.cli import main

sys.exit(main())
