"""A service as processes: signals, workers under a supervisor, and the drain at the end."""

from emailrelay.service.dispatcher import dispatcher
from emailrelay.service.history_bounds import keep_history
from emailrelay.service.listening_service import run_listening
from emailrelay.service.live_settings import LiveSettings, Swap
from emailrelay.service.processes import Dispatch, Work, run
from emailrelay.service.readers import reporter
from emailrelay.service.signals import Signals

__all__ = [
    "Dispatch",
    "LiveSettings",
    "Signals",
    "Swap",
    "Work",
    "dispatcher",
    "keep_history",
    "reporter",
    "run",
    "run_listening",
]
