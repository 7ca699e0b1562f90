"""The stores, which keep mail between the processes."""
