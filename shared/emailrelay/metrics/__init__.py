"""Counts the events of the services, for Prometheus (the extra ``metrics``)."""
