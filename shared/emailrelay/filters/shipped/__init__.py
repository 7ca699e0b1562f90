"""The filters that ship with the relay: their parameters, their specs and their work."""
