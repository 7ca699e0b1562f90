"""``emailrelay-submit``: puts a message from standard input into the spool."""
