"""The pages of the console: each module has its routes."""
