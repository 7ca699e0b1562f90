"""The history of a spool: files under ``.history``, one or more for each day."""
