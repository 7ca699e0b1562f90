"""``emailrelay-filter-test``: filters tried on a message, with nothing kept and nothing sent."""
