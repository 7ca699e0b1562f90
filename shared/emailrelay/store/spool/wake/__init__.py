"""Tells the processes of a spool about new and deferred messages."""
