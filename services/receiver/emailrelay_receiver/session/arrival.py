"""The start of a session: the client's address, and whether it is served."""

import socket

from emailrelay.client_source import is_local, source_of
from emailrelay.reply import Reply
from emailrelay.secrets.trusted import lies_in
from emailrelay_receiver.clients.peer_address import reset_peer_address
from emailrelay_receiver.connection.session_log import SessionLog
from emailrelay_receiver.connection.wire import ClientWire
from emailrelay_receiver.context import ReceiverContext
from emailrelay_receiver.dialogue.access import ClientStanding

CLOSING_DOWN = Reply(421, "4.3.2 shutting down, try again later")
_LOCAL_ONLY = Reply(554, "5.7.1 remote clients are not allowed")


def identify(wire: ClientWire, log: SessionLog, standing: ClientStanding, *, path: str) -> None:
    """Note the client's address. ``path`` is that of the unix socket, or "".

    Raises:
        ConnectionResetError: the client has gone already.

    """
    peer = wire.info("peername")
    if isinstance(peer, tuple):
        log.client, log.port = str(peer[0]), int(peer[1])  # pyright: ignore[reportUnknownArgumentType] - asyncio does not say
        standing.private = is_local(log.client)
    elif (connection := wire.info("socket")).family is socket.AF_UNIX:
        log.client, standing.private = path or "/", True
    else:
        log.client = reset_peer_address(connection)
        raise ConnectionResetError
    standing.address = log.client


def refusal_of(context: ReceiverContext, standing: ClientStanding) -> Reply | None:
    """Apply the rules for clients, and return why this one is not served, if so."""
    client, rules = standing.address, context.rules
    standing.trusted = rules.trusted(client)
    standing.lenient = lies_in(client, rules.terms.lenient)
    if context.closing:
        return CLOSING_DOWN
    known = standing.private or standing.trusted is not None
    served = known or context.remote_clients or rules.serves_strangers
    return None if served else _LOCAL_ONLY


def is_favoured(context: ReceiverContext, standing: ClientStanding) -> bool:
    """Return whether a client can have the places that are reserved: see ``Admission.enter``."""
    known = standing.private or standing.trusted is not None
    return known or context.attempts.knows(source_of(standing.address))
