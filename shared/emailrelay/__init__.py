"""The library that all processes of the relay use."""
