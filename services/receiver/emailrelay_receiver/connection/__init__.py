"""One connection: octets in and out, time limits, encryption, and what the log says about it."""
