"""The parameters of the shipped filters, as their specs and the tables of settings give them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from emailrelay.filters.shipped.header_edits import HeaderEdit
from emailrelay.host_port import HostPort


@dataclass(frozen=True, slots=True)
class PipeFilter:
    """A program that stays running: it gets paths of contents on standard input."""

    spec: str
    path: Path
    """Absolute."""
    arguments: tuple[str, ...] = ()
    messages: int = 0
    """The messages after which the program is replaced by a new one; 0: never."""

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return self.spec


@dataclass(frozen=True, slots=True)
class HeaderFilter:
    """Edits of the header, in their order."""

    spec: str
    edits: tuple[HeaderEdit, ...]

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return self.spec


SIGNED_FIELDS = (
    *("from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to"),
    *("references", "mime-version", "content-type", "content-transfer-encoding", "resent-date"),
    *("resent-from", "resent-sender", "resent-to", "resent-cc", "resent-message-id", "list-id"),
    *("list-unsubscribe", "list-unsubscribe-post", "list-help", "list-post", "list-owner"),
)
"""The fields that a DKIM signature is usually about (RFC 6376 section 5.4.1)."""
CLOSED_FIELDS = ("from", "to", "cc", "subject", "date", "reply-to")
"""Signed fields that readers see: no further one can be added later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimKey:
    """A key that signs the mail of a domain."""

    domain: str
    """In lower case and ASCII."""
    selector: str
    key_file: Path
    headers: tuple[str, ...] = SIGNED_FIELDS
    """In lower case."""
    closed: tuple[str, ...] = CLOSED_FIELDS
    subdomains: bool = False
    """Sign for authors in subdomains, too."""
    sign_again: bool = False
    """Sign messages that have a signature already, too."""

    def fits(self, domain: str) -> bool:
        """Tell whether it signs mail of authors in a domain."""
        below = self.subdomains and domain.endswith(f".{self.domain}")
        return below or domain == self.domain


@dataclass(frozen=True, slots=True)
class DkimFilter:
    """DKIM signatures of those keys that fit the author."""

    spec: str
    keys: tuple[DkimKey, ...]

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return self.spec


@dataclass(frozen=True, slots=True)
class DisclaimerFilter:
    """A footer in the text of messages."""

    spec: str
    text_file: Path
    """Absolute, as ``html_file``."""
    html_file: Path | None = None
    sender: tuple[str, ...] = ("*",)
    """Patterns of the envelope senders whose messages get it (``address_pattern``)."""

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return self.spec


@dataclass(frozen=True, slots=True)
class ArchiveFilter:
    """A copy of each message in a maildir."""

    spec: str
    directory: Path
    """Absolute."""
    by_day: bool = False
    """A maildir for each day, within the directory."""
    envelope: bool = False
    """The envelope in header fields in front of the copy."""

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return self.spec


@dataclass(frozen=True, slots=True)
class CopyFilter:
    """A copy of each message in every maildir of a directory."""

    spec: str
    directory: Path
    """Absolute."""

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return self.spec


@dataclass(frozen=True, slots=True)
class DeliverFilter:
    """Messages for local recipients go into their maildirs in a directory."""

    spec: str
    directory: Path
    """Absolute."""

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return self.spec


@dataclass(frozen=True, slots=True)
class RewriteFilter:
    """Other addresses in envelope and header, by a map in a file."""

    spec: str
    path: Path
    """Absolute."""
    senders: bool = True
    """Rewrite the sender of the envelope."""
    recipients: bool = True
    """Rewrite the recipients of the envelope."""
    headers: bool = True
    """Rewrite the addresses in the header."""

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return self.spec


@dataclass(frozen=True, slots=True)
class SplitFilter:
    """A message of its own for the recipients of each domain."""

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return "split:"


@dataclass(frozen=True, slots=True)
class MxFilter:
    """Next servers by the MX records of the recipients' domain."""

    name_server: HostPort | None = None
    """None: those of the system."""

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return f"mx:{self.name_server or ''}"


Worked: TypeAlias = (
    HeaderFilter
    | DkimFilter
    | DisclaimerFilter
    | ArchiveFilter
    | CopyFilter
    | DeliverFilter
    | RewriteFilter
    | SplitFilter
)
"""The filters that work on the files of a message here, in a thread."""
ServerOnly: TypeAlias = DeliverFilter | SplitFilter
"""Those that cannot be client filters."""
Shipped: TypeAlias = PipeFilter | MxFilter | Worked


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterTables:
    """The tables of a settings file for filters: by kind, the filter of each name."""

    pipe: Mapping[str, PipeFilter] = field(default_factory=dict[str, PipeFilter])
    header: Mapping[str, HeaderFilter] = field(default_factory=dict[str, HeaderFilter])
    dkim: Mapping[str, DkimKey] = field(default_factory=dict[str, DkimKey])
    disclaimer: Mapping[str, DisclaimerFilter] = field(default_factory=dict[str, DisclaimerFilter])
    archive: Mapping[str, ArchiveFilter] = field(default_factory=dict[str, ArchiveFilter])
    rewrite: Mapping[str, RewriteFilter] = field(default_factory=dict[str, RewriteFilter])


NO_TABLES = FilterTables()
