"""Runs the command line."""

import sys

from emailrelay.configure.cli import main

sys.exit(main())
