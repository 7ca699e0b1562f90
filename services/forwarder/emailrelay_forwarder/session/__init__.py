"""One connection to a server: opened, encrypted, signed in, spoken to."""
