"""Clients: their limits, logins, certificates, and the addresses that they may send to."""
