"""Generates pages from declarations in the code: ``python -m docs.generate``."""
