"""The lines of the table of goals, one module for each theme."""

from bench.case import Case
from bench.cases import accept, relay

ALL: tuple[Case, ...] = (*accept.CASES, *relay.CASES)
