"""Runs the command line."""

import sys

from emailrelay.submit.cli import main

sys.exit(main())
