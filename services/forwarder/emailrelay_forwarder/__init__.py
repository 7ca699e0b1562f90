"""Delivers ready mail to the next server."""
