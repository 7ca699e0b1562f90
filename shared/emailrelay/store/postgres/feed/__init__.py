"""Finding the messages that are due."""
