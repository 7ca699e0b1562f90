"""``python -m emailrelay_forwarder.doctor``."""

import sys

from emailrelay_forwarder.doctor.cli import main

if __name__ == "__main__":
    sys.exit(main())
