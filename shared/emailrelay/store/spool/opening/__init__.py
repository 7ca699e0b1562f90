"""Opening a spool after a crash: presence, replay of the log, recovery."""
