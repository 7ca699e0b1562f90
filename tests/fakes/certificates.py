"""Certificates for tests, made when they are needed."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """Files of an authority, and of a server and a client that it has signed."""

    authority: Path
    server: Path
    """Key and chain in one file."""
    client: Path


def make_certificates(folder: Path, name: str = "relay.test") -> Certificates:
    """Make them in an existing folder."""
    authority = trustme.CA()
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "client.pem")
    authority.cert_pem.write_to_path(made.authority)
    for path, host in ((made.server, name), (made.client, "client.test")):
        authority.issue_cert(host, "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
        path.chmod(0o600)
    return made
