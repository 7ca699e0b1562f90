"""Telling senders what could not be delivered (RFC 3464)."""
