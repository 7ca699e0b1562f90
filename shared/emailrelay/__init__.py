"""The library that every process of the relay stands on."""
