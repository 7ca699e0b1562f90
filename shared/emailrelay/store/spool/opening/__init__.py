"""Opening a spool: presence, replay of the log, recovery."""
