"""The files that pages use: style sheet and scripts, all of them ours to serve."""

from typing import Any

from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from emailrelay_console.web.render import FOLDER


class PageFiles(StaticFiles):
    """Browsers keep the files, and ask each time if they have changed."""

    def file_response(self, *arguments: Any, **more: Any) -> Response:
        """Return a file, or the answer that it has not changed."""
        answer = super().file_response(*arguments, **more)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


ROUTES = [Mount("/static", PageFiles(directory=FOLDER / "static"))]
