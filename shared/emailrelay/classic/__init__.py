"""The historical ``emailrelay`` command: its options and process contract, with the three services."""
