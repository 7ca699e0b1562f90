"""The mark that says where mail enters the spool: for those who write into it themselves."""

import contextlib
import os

from emailrelay.stage import Stage
from emailrelay.store.spool import files, names


def put(root: str, stage: Stage) -> None:
    """Note that mail enters at ``stage``: UNFILTERED or READY.

    Raises:
        OSError: the directory refuses.

    """
    mark = f"{root}/{names.FILTERS_FIRST}"
    if stage is Stage.UNFILTERED:
        with contextlib.suppress(FileExistsError):
            os.close(files.create(mark))
    else:
        files.remove(mark)


def get(root: str) -> Stage:
    """Tell where mail enters."""
    marked = os.path.lexists(f"{root}/{names.FILTERS_FIRST}")
    return Stage.UNFILTERED if marked else Stage.READY
