"""The settings of one child, as a file that it reads at its start and again at each SIGHUP.

The file is in memory and has no name, so it cannot be left behind, removed or read by others.
"""

import os
from collections.abc import Mapping

from emailrelay import linux
from emailrelay.classic.services import Service, own_environment
from emailrelay.config import read, write


class ChildSettings:
    """The settings file of a child, which inherits ``descriptor``."""

    def __init__(self, service: Service, environ: Mapping[str, str]) -> None:
        """Make the file; raise ConfigError if the service could not use these settings."""
        self.descriptor = linux.nameless_file(f"{service.name}.toml")
        self._environ = own_environment(environ)
        self.use(service)

    @property
    def flag(self) -> str:
        """Return the flag that names the file, so that the child reads it from its beginning."""
        return f"--config={linux.path_of(self.descriptor)}"

    def use(self, service: Service) -> None:
        """Write other settings for the same service; raise ConfigError as at the start."""
        text = write(read(service.settings, service.flags, self._environ)).encode()
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, text, 0)

    def close(self) -> None:
        """Close the file. A child that has inherited it keeps it open."""
        os.close(self.descriptor)
