"""The files that pages use: style sheet and scripts, all of them ours to serve."""

from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from emailrelay_console.web.render import FOLDER

ROUTES = [Mount("/static", StaticFiles(directory=FOLDER / "static"))]
