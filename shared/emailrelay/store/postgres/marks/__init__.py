"""Facts that all processes on one database share."""
