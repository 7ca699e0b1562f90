"""Notices to the senders of failed mail (RFC 3464): who is told, of what, and how often."""
