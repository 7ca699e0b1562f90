"""Runs the command line."""

import sys

from emailrelay.notify.cli import main

sys.exit(main())
