"""A service's event as a line of the legacy log."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, cast

from emailrelay.events.event import TIME_FIELDS, Event
from emailrelay.logs import field_value
from emailrelay.printable import printable


class Severity(StrEnum):
    """The word at the beginning of a line."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ClassicLine:
    """One line; ``address`` is the address of its client, ``IP;PORT``, if any."""

    severity: Severity
    text: str
    address: str = ""
    in_file: bool = False
    """Whether a service has written it to the log file already."""


_SEVERITIES = MappingProxyType(
    {"warning": Severity.WARNING, "error": Severity.ERROR, "critical": Severity.ERROR}
)

TEXTS = MappingProxyType(
    {
        "started": "{service} {version} started",
        "listening": "smtp server on {address}",
        "stopping": "{service} stopping",
        "stopped": "{service} stopped",
        "reloaded": "{service}: settings read again; changed: {changed}; "
        "for the next start: {needs_restart}",
        "reload_refused": "{service}: settings stay as they are: {problems}",
        "worker_died": "a worker of the {service} ended: {reason}",
        "received": "received {id} from <{sender}>: {recipients} recipient(s), {size} octets",
        "rejected": "rejected {command}: {reply}",
        "more_trouble": "{refusals} more refusal(s) and {sessions} more broken session(s) "
        "within a second",
        "left_out": "{lines} more like this one within a minute: {reason}",
        "vanished": "{client} connected and disconnected without a command",
        "logged_in": "{client} logged in with {mechanism} as {user}",
        # The address comes first: deploy/fail2ban looks for it. Text from the client comes last.
        "login_failed": "{client} failed to log in with {mechanism} as {user}",
        "secrets_trouble": "the accounts stay as they are: {reason}",
        "accept_trouble": "cannot accept connections: {reason}",
        "verifier_trouble": "address verifier {verifier}: {reason}",
        "recipient_checked": "recipient {result} by the next server {reply}",
        "recipient_unchecked": "a recipient is checked at delivery only: {reason}",
        "session_trouble": "session: {reason}",
        "dialogue": '{direction}: "{line}"',
        "tls_handshake": "TLS handshake with {peer}: {result}",
        "filter_verdict": "filter {filter} said {verdict} to {id}",
        "passed": "filter passed {id}",
        "filter_held": "held {id} for a filter: {reason}",
        "abandoned": "filter {filter} {end} {id}",
        "filter_trouble": "filter {filter}: {id} waits: {reason}",
        "filter_rejected": "filter {filter} rejected {id}: {reply} ({reason})",
        "filter_unstartable": "filter {filter}: {reason}; mail waits until it can be run",
        "no_filter": "{waiting} message(s) wait for a filter, and none is configured",
        "delivered": "delivered {id} to {peer}: {recipients} recipient(s): {reply}",
        "deferred": "deferred {id}: {reason}",
        "recipients_refused": "{peer} refused {recipients} recipient(s) of {id}: {reply}",
        "delivery_refused": "refused {id}: {reply} ({reason})",
        "failed": "failed {id}: {reason}",
        "bounced": "notice {notice} notifies the sender that {id} failed",
        "not_bounced": "no notice about {id}, which failed: {reason}",
        "bounces_held_back": "one address has had {notices} notices of failed mail within an hour; "
        "the next one, at {again}, is about all further failures",
        "failed_removed": "removed {id}, which failed; its sender was notified or wanted no notice",
        "smarthost_trouble": "cannot forward to {peer}: {reason}",
        "sign_in_trouble": "no new token for account {account}: {reason}; {advice}",
        "sign_in_back": "account {account} has a new token",
        "sign_in_refused": "cannot log in at {peer}: {reason}",
        "rate_reached": "route {route} has sent as much as it may ({rate}); it goes on at {again}",
        "slowed_down": "{peer} wants mail more slowly: {reason}; it gets {rate}, "
        "and goes on at {again}",
        "smarthost_back": "{peer} can be used again",
        "withdrawn": "{id} is not delivered: the client that waited for it has gone",
        "still_unfiltered": "{messages} message(s) wait for their filters and were left alone",
        "set_aside": "damaged {id} was set aside: {reason}",
        "recovered": "recovered {id}: {what}",
        "possible_duplicate": "{id} may have been delivered to {peer} already",
        "taken_in": "found {id} in the spool",
        "handed_over": "handed over {messages} messages to the store",
        "store_trouble": "spool: {doing}: {reason}",
        "watch_trouble": "spool: {reason}",
        "lines_dropped": "{lines} line(s) of the log were lost",
        "library_trouble": "{library}: {text}",
        "unresponsive": "process {pid} of the {service} has done nothing for {seconds} s",
        "monitor_trouble": "monitoring: {reason}; mail goes on",
        "console_login": "console: {user} signed in as {role} from {client}",
        "console_login_failed": "console: {user} failed to sign in from {client}",
        "console_action": "console: {user}: {action} {id}",
        "console_examination": "console: {user}: examination of the route {route}",
        "internal_error": "internal error: {doing}: {reason}",
        "traceback": "{text}",
    }
)
"""The text for each kind of event, by its name in the log of the services."""

_NOT_SHOWN = frozenset({"timestamp", "level", "event", "service", "pid"})


def of_event(octets: bytes) -> ClassicLine | None:
    """Return the line for an event of a service's log; None if ``octets`` are not an event."""
    try:
        event = json.loads(octets)
        name, level = str(event["event"]), str(event["level"])
    except (ValueError, KeyError, TypeError):
        return None
    severity = _SEVERITIES.get(level, Severity.INFO)
    return ClassicLine(severity, _text(name, event), _address(name, event))


def of_own(event: Event) -> ClassicLine:
    """Return the line for an event of this process."""
    fields = {name: field_value(getattr(event, name)) for name in event.shown()}
    severity, name = _SEVERITIES.get(event.level.value, Severity.INFO), event.name
    return ClassicLine(severity, _text(name, fields), _address(name, fields))


def of_stderr_line(octets: bytes) -> ClassicLine | None:
    """Return the line for a line of a service's standard error; None for an empty one."""
    text = printable(octets.decode(errors="replace").rstrip())
    return ClassicLine(Severity.ERROR, text) if text else None


def written(line: ClassicLine, *, now: float | None = None, address: bool = False) -> str:
    """Return a line in the legacy grammar, with the time ``now`` if given."""
    stamp = ""
    if now is not None:
        day = time.strftime("%Y%m%d.%H%M%S", time.localtime(now))
        stamp = f"{day}.{int(now * 1000) % 1000:03}: "
    about = f"{line.address}: " if address and line.address else ""
    return f"{stamp}{line.severity}: {about}{line.text}"


def _address(name: str, event: Mapping[str, Any]) -> str:
    address = str(event.get("peer" if name == "dialogue" else "client") or "")
    port = str(event.get("port") or "")
    if name == "dialogue" and not port and not address.startswith("/"):
        # In a dialogue with a server: its configured address and port.
        address, _, port = address.rpartition(":")
    return f"{address};{port}" if address and port else address


def _text(name: str, event: Mapping[str, Any]) -> str:
    event = {key: _time_of_day(key, value) for key, value in event.items()}
    pattern = TEXTS.get(name)
    if pattern is not None:
        try:
            return pattern.format_map(event) + _about_mail(event, pattern)
        except KeyError:
            pass  # an event of another release: show all its fields
    said = [f"{key}={value}" for key, value in event.items() if key not in _NOT_SHOWN]
    return " ".join([name.replace("_", " "), *said])


def _about_mail(event: Mapping[str, Any], pattern: str) -> str:
    """Name the message behind a text: sender, recipients, Message-ID and user, as far as known."""
    named, recipients = cast("list[str] | None", event.get("to")), event.get("recipients")
    if not isinstance(named, list) or not isinstance(recipients, int):
        return ""
    more = recipients - len(named)
    parts = [] if "{sender}" in pattern else [f"from <{event.get('sender', '')}>"]
    others = f" and {more} more" if more > 0 else ""
    parts.append(f"to {', '.join(f'<{address}>' for address in named)}{others}")
    parts += [f"Message-ID {found}"] if (found := event.get("message_id")) else []
    parts += [f"user {found}"] if (found := event.get("user")) else []
    return f" ({', '.join(parts)})"


def _time_of_day(field: str, value: Any) -> Any:
    if field not in TIME_FIELDS or not isinstance(value, int | float):
        return value
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    except (OverflowError, ValueError, OSError):  # not a year of the calendar
        return value
