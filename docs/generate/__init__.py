"""Makes the pages that follow from declarations in the code: ``python -m docs.generate``."""
