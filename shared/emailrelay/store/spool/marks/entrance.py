"""The mark that says where mail enters the spool, for programs that submit directly."""

import contextlib
import os

from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.disk.directory import Directory


def put(root: Directory, stage: Stage) -> None:
    """Note that mail enters at ``stage``: UNFILTERED or READY.

    Raises:
        OSError: the directory refuses.

    """
    mark = root / names.FILTERS_FIRST
    if stage is Stage.UNFILTERED:
        with contextlib.suppress(FileExistsError):
            os.close(files.create(mark))
    else:
        files.remove(mark)


def get(root: Directory) -> Stage:
    """Return the stage at which mail enters."""
    marked = files.is_there(root / names.FILTERS_FIRST)
    return Stage.UNFILTERED if marked else Stage.READY
