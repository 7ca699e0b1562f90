"""The name of the command ``emailrelay-config``."""

PROGRAM = "emailrelay-config"
