"""The readers of a service's events: its log, and its counters if they are wanted."""

from emailrelay import logs
from emailrelay.config import Settings
from emailrelay.events.event import Event, Report


def reporter(settings: Settings) -> Report:
    """Return the ``Report`` of a service.

    Without a runtime directory, or without the extra ``metrics``, it is the log alone.
    """
    log = logs.reporter(settings)
    if settings.runtime_dir is None:
        return log
    try:
        # Before workers are forked, which share the library's memory then.
        from emailrelay.metrics.counters import Counters  # noqa: PLC0415 -- see above
    except ImportError:
        return log
    counters = Counters(settings.runtime_dir, log)

    def report(event: Event) -> None:
        # The log leaves out repetitions, so the counters come before it.
        counters(event)
        log(event)

    return report
