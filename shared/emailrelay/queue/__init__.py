"""The operator's view of a store: what is in it, and what is to become of it."""
