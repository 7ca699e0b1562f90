"""The mail as the console sees it: read in threads of its own, changed through the store."""
