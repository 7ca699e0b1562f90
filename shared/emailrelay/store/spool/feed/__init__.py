"""The messages of one stage, oldest first."""
