"""The users of the console: their roles, their sign-in and their sessions."""
