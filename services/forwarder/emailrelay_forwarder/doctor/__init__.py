"""``emailrelay-doctor``: finds out step by step why a server does not accept mail."""
