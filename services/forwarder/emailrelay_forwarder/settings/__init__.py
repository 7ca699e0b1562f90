"""The settings of sessions and accounts, read from the configuration."""
