"""One session: a dialogue on a connection."""
