"""The console of ``make run``: it makes a user with a random password, and tells both."""

import os
import secrets
import sys
from pathlib import Path

from emailrelay_console.cli import main as run

_USER = "demo"


def user_in(path: Path) -> tuple[str, str]:
    """Return the name and the password of the user in a file, which is made if it is missing."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"server plain {_USER} {secrets.token_hex(6)} operator\n")
    words = path.read_text().split()
    return words[2], words[3]


def main(argv: list[str]) -> int:
    """Tell the address, the name and the password, and run the console with these options."""
    options = dict(zip(argv[::2], argv[1::2], strict=True))
    name, password = user_in(Path(options["--console-auth"]))
    port = options["--console-port"]
    sys.stdout.write(
        f"console: http://127.0.0.1:{port}/ in a browser; name {name}, password {password}\n"
    )
    sys.stdout.flush()
    return run(argv)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
