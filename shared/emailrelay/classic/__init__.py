"""The historical ``emailrelay`` command: its options, its process contract, over the three services."""
