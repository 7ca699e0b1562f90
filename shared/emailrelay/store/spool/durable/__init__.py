"""Makes writes durable: batches of syncs, and the log in front of the files."""
