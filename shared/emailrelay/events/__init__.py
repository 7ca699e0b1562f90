"""The events of the log: each kind of fact is a class, whose fields are those of the line.

The services' log (``logs``) and the legacy log (``classic.log_lines``) both write these events.
The renderer of the log escapes texts that came from a peer. No event holds message content or
secrets.
"""
