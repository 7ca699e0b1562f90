"""``emailrelay-filter-test``: tries filters on a message, without keeping or sending anything."""
