"""The secrets of the tests of logins."""

from pathlib import Path

import pytest
from tests.service.receiver_login.users import PASSWORD

from emailrelay.secrets import md5_state
from emailrelay.secrets.key import make_scrypt, write_scrypt


@pytest.fixture(name="secrets")
def make_secrets(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    hashed = write_scrypt(make_scrypt(PASSWORD, b"0123456789abcdef"))
    md5 = md5_state.to_text(md5_state.masked(PASSWORD))
    path.write_text(
        f"server plain alice open+20sesame\nserver scrypt bob {hashed}\nserver md5 carol {md5}\n"
    )
    path.chmod(0o600)
    return path
