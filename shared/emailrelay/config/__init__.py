"""The settings of the services: one declaration for file, environment, flags and reference."""

from emailrelay.ack import Ack
from emailrelay.config.command import load
from emailrelay.config.flags import at_start
from emailrelay.config.options import (
    SERVICES,
    ConsoleSettings,
    FilterdSettings,
    ForwarderSettings,
    LogFormat,
    LogMailAddresses,
    MonitorSettings,
    ReceiverSettings,
    Settings,
)
from emailrelay.config.reading import read
from emailrelay.config.security_values import DEFAULT_AUTHORITIES
from emailrelay.config.writing import write
from emailrelay.terminal.version import version

__all__ = [
    "DEFAULT_AUTHORITIES",
    "SERVICES",
    "Ack",
    "ConsoleSettings",
    "FilterdSettings",
    "ForwarderSettings",
    "LogFormat",
    "LogMailAddresses",
    "MonitorSettings",
    "ReceiverSettings",
    "Settings",
    "at_start",
    "load",
    "read",
    "version",
    "write",
]
