"""The process that checks the services, one after the other, as the user of the services.

python -m emailrelay.configure.check_process SERVICE,SERVICE [options of the services]

A process for each service would spend most of its time on the import of the library.
"""

import io
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module


def main() -> None:
    """Print one JSON object for each service: ``service``, ``said`` and ``complaints``."""
    services, *options = sys.argv[1:]
    for service in services.split(","):
        said, complaints = _checked(service, options)
        line = {"service": service, "said": said, "complaints": complaints}
        sys.stdout.write(f"{json.dumps(line)}\n")
        sys.stdout.flush()


def _checked(service: str, options: Sequence[str]) -> tuple[str, str]:
    """Return the output of a service with the option --check-config."""
    said, complaints = io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(complaints):
        try:
            run: Callable[[Sequence[str]], int]
            run = import_module(f"emailrelay_{service}.cli").main
            run(["--check-config=json,no-ports", *options])
        except SystemExit:
            pass
        except Exception:  # noqa: BLE001 -- a bug in one check must not hide the findings of others
            traceback.print_exc()
    return said.getvalue(), complaints.getvalue()


if __name__ == "__main__":
    main()
