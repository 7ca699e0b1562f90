"""Runs the command line."""

import sys

from emailrelay.oauth.cli import main

sys.exit(main())
