"""The legacy ``emailrelay`` command: its options, its process contract, the three services."""
