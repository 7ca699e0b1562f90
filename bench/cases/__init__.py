"""The lines of the table of goals, one module for each theme."""

from bench.case import Case
from bench.cases import (
    accept,
    console,
    deep,
    filters,
    latency,
    monitoring,
    proxy,
    relay,
    rest,
    scale,
    slow,
)

ALL: tuple[Case, ...] = (
    *accept.CASES,
    *relay.CASES,
    *latency.CASES,
    *deep.CASES,
    *slow.CASES,
    *proxy.CASES,
    *filters.CASES,
    *rest.CASES,
    *scale.CASES,
    *monitoring.CASES,
    *console.CASES,
)
