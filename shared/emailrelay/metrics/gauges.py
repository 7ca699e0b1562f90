"""Declares the gauges: what the monitor finds out when it is asked, from states and the store."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GaugeRule:
    """A gauge: its name, meaning and labels."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gauge with its values, each with its labels."""

    rule: GaugeRule
    values: Sequence[tuple[tuple[str, ...], float]]


BUILD = GaugeRule("emailrelay_build_info", "The release, as label; always 1.", ("version",))
SERVICE_UP = GaugeRule(
    "emailrelay_service_up", "1: the service's processes work (as in /healthz).", ("service",)
)
SERVICE_READY = GaugeRule(
    "emailrelay_service_ready", "1: the service does its job (as in /readyz).", ("service",)
)
PROCESSES = GaugeRule("emailrelay_processes", "Processes that work.", ("service",))
SESSIONS = GaugeRule(
    "emailrelay_sessions",
    "Open SMTP sessions: of the receiver with clients, of the forwarder with next servers.",
    ("service",),
)
ROUTE_UP = GaugeRule(
    "emailrelay_route_up", "0: no server of the route can be used; its mail waits.", ("route",)
)
TOKEN_EXPIRY = GaugeRule(
    "emailrelay_token_expiry_seconds",
    "Seconds until the token that was used last ends; it is renewed when mail needs it.",
    ("account",),
)
SIGN_IN_UP = GaugeRule(
    "emailrelay_sign_in_up", "0: the account gets no new token, or is refused.", ("account",)
)
QUEUE = GaugeRule("emailrelay_queue_messages", "Messages in the store, by state.", ("state",))
OLDEST = GaugeRule(
    "emailrelay_queue_oldest_seconds", "The age of the oldest message, by state.", ("state",)
)
COUNT_AGE = GaugeRule("emailrelay_queue_count_age_seconds", "The age of these counts of the queue.")
STORE_UP = GaugeRule("emailrelay_store_up", "0: the monitor cannot read the store.")
FREE = GaugeRule("emailrelay_store_free_bytes", "Free room on the spool's file system.")

GAUGES: tuple[GaugeRule, ...] = (
    BUILD,
    SERVICE_UP,
    SERVICE_READY,
    PROCESSES,
    SESSIONS,
    ROUTE_UP,
    TOKEN_EXPIRY,
    SIGN_IN_UP,
    QUEUE,
    OLDEST,
    COUNT_AGE,
    STORE_UP,
    FREE,
)
