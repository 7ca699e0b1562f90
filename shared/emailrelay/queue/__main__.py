"""Runs the command line."""

import sys

from emailrelay.queue.cli import main

sys.exit(main())
