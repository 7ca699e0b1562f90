"""Certificates for tests, made when they are needed."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """Files of an authority, of a server it vouches for, and of a client it vouches for."""

    authority: Path
    server: Path
    """Key and chain in one file."""
    client: Path


def make_certificates(folder: Path, name: str = "relay.test") -> Certificates:
    """Make them in a folder that is there."""
    authority = trustme.CA()
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "client.pem")
    authority.cert_pem.write_to_path(made.authority)
    for path, host in ((made.server, name), (made.client, "client.test")):
        authority.issue_cert(host, "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
        path.chmod(0o600)
    return made
