"""``emailrelay-config``: makes, checks and shows the settings of this host."""
