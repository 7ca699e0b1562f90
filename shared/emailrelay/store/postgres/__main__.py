"""The command ``emailrelay-store``; it says what to install if the extra's library is missing."""

import os
import sys

from emailrelay import extras


def main() -> int:
    """Run the command line; return the exit status."""
    try:
        from emailrelay.store.postgres import cli  # noqa: PLC0415 - it imports the extra
    except ImportError as error:
        sys.stderr.write(
            f"emailrelay-store: PostgreSQL needs psycopg: {extras.advice('postgres')} ({error})\n"
        )
        return os.EX_UNAVAILABLE
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
