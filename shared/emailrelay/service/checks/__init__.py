"""Checks that several services make before they start: addresses, certificates, servers, store."""
