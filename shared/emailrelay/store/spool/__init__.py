"""The embedded store: a directory, kernel locks and renames, nothing else (``docs/spool.md``)."""
