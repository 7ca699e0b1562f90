"""Runs filter programs over mail that waits for them."""
