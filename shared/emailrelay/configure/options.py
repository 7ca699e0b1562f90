"""Options of several commands of ``emailrelay-config``."""

from typing import Annotated

import typer

from emailrelay.settings_file import DEFAULT

PROGRAM = "emailrelay-config"

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help=f"The settings file. [EMAILRELAY_CONFIG, or {DEFAULT}]",
    ),
]
