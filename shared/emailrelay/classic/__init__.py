"""The historical ``emailrelay`` command: its options, its process contract, the three services."""
