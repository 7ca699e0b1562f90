"""``emailrelay-doctor``: why a server does not take our mail, step by step, in plain words."""
