"""``emailrelay-queue``: lists the messages of a store and changes their state."""
