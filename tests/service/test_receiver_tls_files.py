"""The files of the receiver's own certificate and key."""

from pathlib import Path

import pytest
from tests.fakes.certificates import Certificates, make_certificates

from emailrelay.errors import ConfigError
from emailrelay_receiver.clients.tls_context import server_context


@pytest.fixture(name="files")
def make_files(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


def test_a_key_that_others_can_read_is_refused(files: Certificates) -> None:
    files.server.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod o="):
        server_context([files.server], None)


def test_unusable_files_are_told(files: Certificates, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        server_context([tmp_path / "none"], None)
    files.server.write_text("nothing")
    with pytest.raises(ConfigError, match="no usable key"):
        server_context([files.server], None)
    with pytest.raises(ConfigError, match="authorities"):
        server_context([files.client], str(files.server))


def test_key_and_chain_may_stand_in_two_files(files: Certificates, tmp_path: Path) -> None:
    text = files.server.read_text()
    cut = text.index("-----BEGIN CERTIFICATE")
    key, chain = tmp_path / "key", tmp_path / "chain"
    key.write_text(text[:cut])
    key.chmod(0o600)
    chain.write_text(text[cut:])
    server_context([key, chain], None)


def test_a_key_that_needs_a_password_is_told_and_not_asked_for(
    files: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "locked"
    path.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="no usable key"):
        server_context([path, files.server], None)
