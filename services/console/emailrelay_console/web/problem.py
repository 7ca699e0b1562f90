"""An answer that is no success, in words for its reader."""

from http import HTTPStatus

from starlette.exceptions import HTTPException


class Problem(HTTPException):
    """The request cannot be done; ``detail`` says why, and what to do."""

    def __init__(self, status: int, detail: str, *, retry_after: int | None = None) -> None:
        headers = None if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(status, detail, headers)

    @property
    def title(self) -> str:
        """Return the general name of the problem."""
        return HTTPStatus(self.status_code).phrase
