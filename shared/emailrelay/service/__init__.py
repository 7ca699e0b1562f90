"""A service as processes: signals, workers under a supervisor, the drain at the end."""

from emailrelay.service.dispatcher import dispatcher
from emailrelay.service.live import Live, Swap
from emailrelay.service.processes import Dispatch, Work, run
from emailrelay.service.signals import Signals

__all__ = ["Dispatch", "Live", "Signals", "Swap", "Work", "dispatcher", "run"]
