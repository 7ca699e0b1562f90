"""Examines one server: each step of a delivery before the content."""

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NoReturn, TypeVar

from emailrelay.envelope import Address
from emailrelay.errors import AddressError
from emailrelay_forwarder.doctor.certificate import days_left, details_of, summary
from emailrelay_forwarder.doctor.finding import DoctorFinding, DoctorVerdict
from emailrelay_forwarder.doctor.record import ExaminationRecord, error_text
from emailrelay_forwarder.doctor.remedies import remedy_for, remedy_for_kind
from emailrelay_forwarder.doctor.unknown_server import identify
from emailrelay_forwarder.session import sign_in
from emailrelay_forwarder.session.mailbox import on_wire
from emailrelay_forwarder.session.opening import (
    SessionTerms,
    check_secrecy,
    connect,
    encrypt,
    terms_for,
)
from emailrelay_forwarder.session.policy import Mode
from emailrelay_forwarder.session.resolve import SocketAddress, resolve
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_error import SessionError, SessionStep
from emailrelay_forwarder.session.session_settings import SessionSettings
from emailrelay_forwarder.session.smtp_client import Session

_T = TypeVar("_T")
_SOON = 14
"""Days: a certificate that expires within this time should have been renewed."""
_QUIT_TIMEOUT = 2.0


class _Over(Exception):
    """A problem makes further steps impossible."""


@dataclass(slots=True, kw_only=True)
class Examination:
    """Examines the server of ``route`` in the way of a delivery; sends at most an envelope."""

    route: NextServer
    settings: SessionSettings
    sender: str | None = None
    """The sender for MAIL; None: no dry run."""
    recipients: tuple[str, ...] = ()
    no_account: str = "no account is set"
    """The reason for not logging in, if there is no account."""
    _record: ExaminationRecord = field(init=False)
    _session: Session | None = None

    def __post_init__(self) -> None:
        """Begin the record of the findings."""
        self._record = ExaminationRecord(port=self.route.port)

    async def run(self) -> tuple[DoctorFinding, ...]:
        """Try all possible steps; return the findings in their order."""
        with suppress(_Over):
            await self._examine()
        return tuple(self._record.findings)

    async def _examine(self) -> None:
        addresses = await self._addresses()
        address = await self._reachable(addresses)
        terms = await self._try("account", self._terms())
        try:
            await self._converse(address, terms)
        finally:
            if self._session is not None:
                self._session.abort()

    async def _converse(self, address: SocketAddress, terms: SessionTerms) -> None:
        session = await self._connected(address)
        if terms.tls.mode is Mode.IMPLICIT:
            session = await self._encrypted(session, address, terms)
        await self._introduced(session, address, terms)
        session = await self._upgraded(session, address, terms)
        await self._signed_in(session, terms)
        if self.sender is not None:
            await self._dry_run(session, self.sender)
        await session.quit(_QUIT_TIMEOUT)

    async def _addresses(self) -> list[SocketAddress]:
        looking = resolve(self.route, limit=self.settings.connect, lookups=self.settings.lookups)
        found = await self._try("DNS", looking)
        names = [str(address) for address in found]
        self._record.note("DNS", DoctorVerdict.OK, ", ".join(names), details={"addresses": names})
        return found

    async def _reachable(self, addresses: list[SocketAddress]) -> SocketAddress:
        """Connect to each address; return the first that answers. The others become notes then."""
        tries = await asyncio.gather(*(self._reach(address) for address in addresses))
        reachable = [a for a, (_, trouble) in zip(addresses, tries, strict=True) if not trouble]
        for address, (seconds, trouble) in zip(addresses, tries, strict=True):
            self._record.start(seconds_ago=seconds)
            step = f"TCP {address}"
            if trouble is None:
                self._record.note(step, DoctorVerdict.OK, "connected")
            else:
                self._record.error(
                    step, trouble, DoctorVerdict.NOTE if reachable else DoctorVerdict.PROBLEM
                )
        if not reachable:
            raise _Over
        return reachable[0]

    async def _reach(self, address: SocketAddress) -> tuple[float, SessionError | None]:
        """Connect to an address; return the seconds that it took, and the error, if any."""
        began, found = time.perf_counter(), None
        try:
            (await connect(address, self.settings)).abort()
        except SessionError as trouble:
            found = trouble
        return time.perf_counter() - began, found

    async def _terms(self) -> SessionTerms:
        return terms_for(self.route, self.settings)

    async def _connected(self, address: SocketAddress) -> Session:
        wire = await self._try("TCP", connect(address, self.settings))
        self._session = Session(wire, str(address), self.settings)
        return self._session

    async def _introduced(
        self, session: Session, address: SocketAddress, terms: SessionTerms
    ) -> None:
        self._record.start()
        try:
            await session.introduce()
        except SessionError as trouble:
            remedy = ""
            if trouble.step is SessionStep.GREETING and trouble.ours:
                remedy = await self._remedy_for_server_kind(session, address, terms)
            self._record.error(str(trouble.step), trouble, remedy=remedy)
            raise _Over from trouble
        self._capabilities(session, "EHLO")

    async def _remedy_for_server_kind(
        self, session: Session, address: SocketAddress, terms: SessionTerms
    ) -> str:
        """Return the remedy if no mail server greets. The step's time excludes this check."""
        session.abort()
        with self._record.paused():
            kind = await identify(address, self.settings, terms.asked_name)
        return remedy_for_kind(kind, in_tls=terms.tls.mode is Mode.IMPLICIT)

    def _capabilities(self, session: Session, step: str) -> None:
        words = [f"{name.upper()} {more}".strip() for name, more in session.extensions.items()]
        text = ", ".join(words) or "no extensions"
        self._record.note(
            step, DoctorVerdict.OK, text, details={"extensions": dict(session.extensions)}
        )

    async def _upgraded(
        self, session: Session, address: SocketAddress, terms: SessionTerms
    ) -> Session:
        """Begin TLS if the policy and the server want it."""
        mode = terms.tls.mode
        if mode is Mode.IMPLICIT:
            return session
        if mode is Mode.OFF:
            self._record.note(
                "STARTTLS", DoctorVerdict.NOTE, "switched off: mail is sent without encryption"
            )
            return session
        if mode is Mode.OPPORTUNISTIC and "starttls" not in session.extensions:
            text = "not offered: mail is sent without encryption, and a login is impossible"
            self._record.note("STARTTLS", DoctorVerdict.NOTE, text)
            return session
        await self._try("STARTTLS", session.start_tls())
        self._record.note("STARTTLS", DoctorVerdict.OK, "the server begins TLS")
        session = await self._encrypted(session, address, terms)
        await self._try("EHLO under TLS", session.hello())
        self._capabilities(session, "EHLO under TLS")
        return session

    async def _encrypted(
        self, session: Session, address: SocketAddress, terms: SessionTerms
    ) -> Session:
        """Verify the certificate even if deliveries do not; return an encrypted session."""
        verifying = replace(terms, tls=replace(terms.tls, verify=True))
        self._record.start()
        try:
            await encrypt(session, verifying)
        except SessionError as trouble:
            session.abort()
            if terms.tls.verify or not _about_certificate(trouble):
                await self._no_encryption(trouble, session, address, terms)
            self._unverified(trouble)
        else:
            self._verified(session)
            return session
        again = await self._connected(address)
        if terms.tls.mode is not Mode.IMPLICIT:
            await self._try("EHLO", again.introduce())
            await self._try("STARTTLS", again.start_tls())
        await self._try("TLS", encrypt(again, terms))
        self._encryption(again)
        return again

    async def _no_encryption(
        self, trouble: SessionError, session: Session, address: SocketAddress, terms: SessionTerms
    ) -> NoReturn:
        remedy = ""
        if terms.tls.mode is Mode.IMPLICIT and not _about_certificate(trouble):
            remedy = await self._remedy_for_server_kind(session, address, terms)
        self._record.error("TLS", trouble, remedy=remedy)
        raise _Over from trouble

    def _encryption(self, session: Session) -> None:
        found = session.encryption
        self._record.note("TLS", DoctorVerdict.OK, summary(found), details=details_of(found))

    def _unverified(self, trouble: SessionError) -> None:
        """Note a wrong certificate that deliveries do not verify."""
        text = f"{error_text(trouble)}; mail is sent nevertheless (client-tls-verify is not set)"
        remedy = remedy_for(trouble.step, trouble.reply, port=self.route.port, ours=True)
        self._record.note("certificate", DoctorVerdict.NOTE, text, remedy=remedy)

    def _verified(self, session: Session) -> None:
        self._encryption(session)
        left = days_left(session.encryption, now=time.time())
        if left is not None and left < _SOON:
            text = f"the certificate expires in {left} days"
            remedy = (
                "the server's owner should renew it now; after that day no mail is delivered there"
            )
            self._record.note("certificate", DoctorVerdict.NOTE, text, remedy=remedy)

    async def _signed_in(self, session: Session, terms: SessionTerms) -> None:
        offered = ", ".join(sign_in.offered(session.extensions)) or "none"
        if terms.account is None:
            self._record.start()
            text = f"{self.no_account}; the server offers {offered}"
            self._record.note("AUTH", DoctorVerdict.OK, text, details={"offered": offered})
            return
        try:
            check_secrecy(session, terms)
        except SessionError as trouble:
            self._record.start()
            self._record.error("AUTH", trouble)
            raise _Over from trouble
        by = await self._try("AUTH", session.sign_in(terms.account, terms.policy.auth))
        self._record.note("AUTH", DoctorVerdict.OK, f"logged in as {terms.account.user} by {by}")

    async def _dry_run(self, session: Session, sender: str) -> None:
        """Offer an envelope, then withdraw it: RSET and no DATA."""
        await self._try("RSET", session.begin())
        if not await self._ask(session, SessionStep.MAIL, b"MAIL FROM:", sender):
            return
        for recipient in self.recipients:
            await self._ask(session, SessionStep.RCPT, b"RCPT TO:", recipient)
        await self._try("RSET", session.begin())
        self._record.note("RSET", DoctorVerdict.OK, "the envelope was withdrawn; nothing was sent")

    async def _ask(self, session: Session, step: SessionStep, verb: bytes, address: str) -> bool:
        name = f"{step} <{address}>"
        self._record.start()
        try:
            octets = (
                on_wire(Address(address), utf8="smtputf8" in session.extensions) if address else b""
            )
        except AddressError as error:
            self._record.note(
                name, DoctorVerdict.PROBLEM, f"the address {error}", remedy="use another address"
            )
            return False
        reply = await self._try(name, session.ask(step, verb + b"<" + octets + b">"))
        if not reply.accepted:
            remedy = remedy_for(step, reply, port=self.route.port)
            self._record.note(name, DoctorVerdict.PROBLEM, str(reply), remedy=remedy)
            return False
        self._record.note(name, DoctorVerdict.OK, str(reply))
        return True

    async def _try(self, step: str, awaited: Awaitable[_T]) -> _T:
        """Try one step; an error in it ends the examination."""
        self._record.start()
        try:
            return await awaited
        except SessionError as trouble:
            self._record.error(step, trouble)
            raise _Over from trouble


def _about_certificate(trouble: SessionError) -> bool:
    """Tell whether a handshake failed only because of the certificate."""
    return "certificate" in trouble.reply.text
