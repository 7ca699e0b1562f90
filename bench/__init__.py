"""Benchmarks: our relay and Postfix side by side, with load and sink from Debian's postfix package.

Run by hand: ``make bench``, or ``python -m bench --help``. Benchmarks are not tests, and no test
asserts on time.
"""
