"""Answers questions about the services of this host: metrics for Prometheus, and their health."""
