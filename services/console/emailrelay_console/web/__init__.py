"""The parts that all pages share: access, forms, templates, errors and the bounds of requests."""
