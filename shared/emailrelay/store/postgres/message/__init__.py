"""A message in the database: written, claimed, settled."""
