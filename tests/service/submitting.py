"""emailrelay-submit as another program starts it."""

import os
import subprocess
import sys
from collections.abc import Mapping

MESSAGE = "To: bob@x.test\nBcc: secret@z.test\nSubject: hi\n\nline\n"
ENVIRONMENT = {"PATH": os.environ["PATH"], "EMAILRELAY_DOMAIN": "here.test"}


def command(name: str, user: int | None) -> list[str]:
    # The other user may be unable to read the interpreter's directory: import first.
    become = (
        ""
        if user is None
        else (
            "from emailrelay.submit import flush;"
            f" os.setgroups([]); os.setgid({user}); os.setuid({user});"
        )
    )
    program = (
        "import encodings.idna, encodings.latin_1, os, sys;"
        " from emailrelay.store.spool import spool_view;"
        " from emailrelay.submit import by_smtp, cli, mailq, session;"
        f" {become} sys.argv[0] = '/usr/sbin/{name}'; sys.exit(cli.main())"
    )
    return [sys.executable, "-c", program]


def submit(
    *arguments: str | bytes,
    text: str = MESSAGE,
    user: int | None = None,
    name: str = "emailrelay-submit",
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command(name, user), *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT | dict(environment or {}),
    )
