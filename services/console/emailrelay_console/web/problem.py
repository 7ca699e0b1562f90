"""An answer that is not a success, in words for its reader."""

from http import HTTPStatus

from starlette.exceptions import HTTPException


class Problem(HTTPException):
    """The request cannot be done; ``detail`` says why, and what to do."""

    def __init__(
        self, status: int, detail: str, *, retry_after: int | None = None, challenge: str = ""
    ) -> None:
        """Take the status, the words, and perhaps the seconds to wait, or the way to sign in."""
        headers = dict[str, str]()
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        if challenge:
            headers["WWW-Authenticate"] = challenge
        super().__init__(status, detail, headers)

    @property
    def title(self) -> str:
        """Return the general name of the problem."""
        return HTTPStatus(self.status_code).phrase
