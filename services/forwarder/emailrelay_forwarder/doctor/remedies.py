"""Chooses the remedy for a refusal or an error."""

from emailrelay.reply import Reply
from emailrelay_forwarder.doctor.known_replies import NO_TLS_AT_FIRST, known_remedy
from emailrelay_forwarder.doctor.unknown_server import ServerKind
from emailrelay_forwarder.session.session_error import SessionStep

_PORTS = "check the port (587 and 465 for logins, 25 between servers)"
_BY_KIND = {
    ServerKind.MAIL_IN_TLS: "this port speaks TLS from the first octet: set client-tls-connection",
    ServerKind.TLS: "this port speaks TLS from the first octet, and no mail server greets there; "
    f"it may be a web server (HTTPS): {_PORTS}",
    ServerKind.SSH: f"an SSH server answers there, not a mail server: {_PORTS}",
    ServerKind.HTTP: f"a web server (HTTP) answers there, not a mail server: {_PORTS}",
    ServerKind.IMAP: f"an IMAP server answers there, which is for reading mail: {_PORTS}",
    ServerKind.POP3: f"a POP3 server answers there, which is for reading mail: {_PORTS}",
    ServerKind.OTHER: f"the server there is not a mail server: {_PORTS}",
    ServerKind.CLOSES: "the connection is accepted and closed without a greeting: "
    "the server may refuse this machine's address, or a proxy or port "
    "forwarding has no server behind it; see its log",
    ServerKind.SILENT: "the connection is accepted and nothing is sent: a slow server (try "
    "--prompt-timeout 300), or a firewall or proxy that answers in its place",
}
_BY_STEP = {
    SessionStep.AUTH: "check user and password (many servers require the full address as "
    "the user), and try them once by hand: repeated wrong tries may lock the account",
    SessionStep.TLS: "see the output of: openssl s_client -starttls smtp -connect HOST:PORT",
    SessionStep.STARTTLS: "the server cannot encrypt now; ask its owner",
    SessionStep.GREETING: "the server refuses this machine, or is not a mail server: "
    "check host and port",
    SessionStep.EHLO: "the server refuses this machine's name (see domain), or is not a mail "
    "server: check host and port",
    SessionStep.MAIL: "the server refuses this sender; try another with --from",
    SessionStep.RCPT: "the server refuses this recipient from here; try another with --to",
}


def remedy_for(step: SessionStep, reply: Reply, *, port: str = "", ours: bool = False) -> str:
    """Return a possible remedy for a refusal or an error at ``step``; empty: none is known.

    ``ours``: this relay made the reply, not the server.
    """
    if step is SessionStep.CONNECT and (known := _unreachable(reply, port)):
        return known
    if found := known_remedy(step, reply):
        return found
    if ours and reply.text.startswith("4.4.2"):
        return _cut_off(step, reply)
    if reply.code == 421:
        return (
            "the server is busy or shutting down, or has too many connections from here: mail is "
            "retried automatically"
        )
    if (
        not ours
        and 450 <= reply.code <= 452
        and step not in {SessionStep.GREETING, SessionStep.EHLO}
    ):
        return (
            "the server is busy or delays unknown senders (greylisting): mail is retried "
            "automatically"
        )
    return _BY_STEP.get(step, "")


def remedy_for_kind(kind: ServerKind, *, in_tls: bool) -> str:
    """Return the remedy if no mail server greets; ``in_tls``: TLS began at the first octet."""
    if kind is ServerKind.MAIL:
        return NO_TLS_AT_FIRST if in_tls else ""
    if kind is ServerKind.MAIL_IN_TLS and in_tls:
        return ""
    return _BY_KIND[kind]


def _cut_off(step: SessionStep, reply: Reply) -> str:
    if "no answer" in reply.text:
        return (
            f"the server was silent at {step}: it is overloaded, or a firewall or router lost the "
            "connection"
        )
    return (
        f"the server ended the connection at {step}: it may refuse this machine's address or name "
        "(see domain), or not be a mail server; its own log has the reason"
    )


def _unreachable(reply: Reply, port: str) -> str:
    if "cannot assign requested address" in reply.text:
        return "this machine does not have the address in client-interface"
    if "unreachable" in reply.text or "no route to host" in reply.text:
        return (
            "this machine has no route to that address (this is frequent with IPv6): see ip route"
        )
    if "does not answer" in reply.text:
        if port == "25":
            return (
                "a firewall drops the connection: most home and cloud networks block port 25; "
                "use 587 or 465 with a login"
            )
        return "a firewall drops the connection, or the host is down: check host, port and routing"
    if "refused" in reply.text:
        return f"no server listens there: {_PORTS}"
    return ""
