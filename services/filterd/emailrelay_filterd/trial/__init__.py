"""``emailrelay-filter-test``: tries filters on a message without storing or sending it."""
