"""The tables of the settings file for filters, such as ``[[pipe]]``."""

import re
from collections.abc import Iterator
from typing import Annotated, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from emailrelay.config.routes import RoutePatterns
from emailrelay.config.security_values import FilePath
from emailrelay.config.tables import Table
from emailrelay.config.values import Count, DirectoryPath, Flag, Metavar
from emailrelay.filters.shipped.domain_name import ascii_domain
from emailrelay.filters.shipped.header_edits import (
    HeaderAction,
    HeaderEdit,
    check_name,
    check_value,
)
from emailrelay.filters.shipped.parameters import (
    SIGNED_FIELDS,
    ArchiveFilter,
    DisclaimerFilter,
    DkimKey,
    HeaderFilter,
    PipeFilter,
    RewriteFilter,
)

FieldName: TypeAlias = Annotated[str, AfterValidator(check_name), Metavar("NAME")]
FieldText: TypeAlias = Annotated[str, AfterValidator(check_value), Metavar("TEXT")]


def _ascii_domain(text: str) -> str:
    domain = ascii_domain(text)
    if not re.fullmatch(r"(?:[a-z0-9_]([a-z0-9_-]*[a-z0-9])?\.)+[a-z0-9-]{2,}", domain):
        raise ValueError("must be a domain such as example.com")
    return domain


def _selector(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", text) or len(text) > 100:
        raise ValueError("must be made of letters, digits, underscores, hyphens and dots")
    return text


def _with_from(names: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.lower() for name in names))
    if "from" not in names:
        raise ValueError("must have from in it (RFC 6376 section 5.4)")
    return names


def _argument(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL, which no program can get")
    return text


Argument: TypeAlias = Annotated[str, AfterValidator(_argument), Metavar("TEXT")]


class PipeSettings(Table):
    """A program that stays running, for the filter pipe:NAME."""

    program: FilePath = Field(examples=["/usr/local/bin/my-filter"])
    """The program. It gets the path of a content in each line of its standard input, and answers
    each with a line."""

    arguments: tuple[Argument, ...] = Field(default=(), examples=[("-r", "/etc/my-rules")])
    """Its arguments."""

    messages: Count = 0
    """The number of messages after which a process of the program is replaced. 0: never."""

    def plain(self) -> PipeFilter:
        """Return the filter as a plain value."""
        return PipeFilter(f"pipe:{self.name}", self.program, self.arguments, self.messages)


class HeaderSettings(Table):
    """Edits of the header, for the filter header:NAME, in the order of these keys."""

    remove: tuple[FieldName, ...] = Field(default=(), examples=[("X-Originating-IP",)])
    """The names of fields to remove."""

    rename: dict[FieldName, FieldName] = Field(default={}, examples=[{"X-Old": "X-New"}])
    """New names of fields, by their old names."""

    set: dict[FieldName, FieldText] = Field(default={}, examples=[{"Precedence": "bulk"}])
    """Fields to set. Each one replaces all fields of its name, in the place of the first. If there
    is none, it is added at the end of the header."""

    add: dict[FieldName, FieldText] = Field(default={}, examples=[{"X-Relay": "mail.example.com"}])
    """The texts of fields to add at the end of the header."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not tuple(self._edits()):
            raise ValueError("needs an edit: remove, rename, set or add")
        return self

    def _edits(self) -> Iterator[HeaderEdit]:
        yield from (HeaderEdit(HeaderAction.REMOVE, name) for name in self.remove)
        for action in (HeaderAction.RENAME, HeaderAction.SET, HeaderAction.ADD):
            for name, value in getattr(self, action).items():
                yield HeaderEdit(action, name, value)

    def plain(self) -> HeaderFilter:
        """Return the filter as a plain value."""
        return HeaderFilter(f"header:{self.name}", tuple(self._edits()))


class DkimSettings(Table):
    """A key for the DKIM signatures of a domain, for the filters dkim: and dkim:NAME."""

    domain: Annotated[str, AfterValidator(_ascii_domain), Metavar("DOMAIN")] = Field(
        examples=["example.com"]
    )
    """The domain: that of the address in the From field of the messages to sign."""

    selector: Annotated[str, AfterValidator(_selector), Metavar("SELECTOR")] = Field(
        examples=["mail2026"]
    )
    """The selector. The public key is in the DNS, under SELECTOR._domainkey.DOMAIN."""

    key_file: FilePath = Field(examples=["/etc/emailrelay/mail2026.pem"])
    """The private key, RSA or Ed25519, in PEM. Other users must not be able to read it."""

    headers: Annotated[tuple[FieldName, ...], AfterValidator(_with_from), Metavar("NAMES")] = (
        SIGNED_FIELDS
    )
    """The header fields to sign, as far as a message has them."""

    subdomains: Flag = False
    """Sign messages from subdomains of the domain, too."""

    sign_again: Flag = False
    """Sign messages that have a DKIM signature already, too."""

    def plain(self) -> DkimKey:
        """Return the key as a plain value."""
        return DkimKey(
            domain=self.domain,
            selector=self.selector,
            key_file=self.key_file,
            headers=self.headers,
            subdomains=self.subdomains,
            sign_again=self.sign_again,
        )


class DisclaimerSettings(Table):
    """A footer in the text of messages, for the filter disclaimer:NAME."""

    text_file: FilePath = Field(examples=["/etc/emailrelay/footer.txt"])
    """The file with the footer, plain text in UTF-8."""

    html_file: FilePath | None = Field(default=None, examples=["/etc/emailrelay/footer.html"])
    """The file with the HTML footer, which is inserted before </body>. By default, the HTML footer
    is generated from the text."""

    sender: RoutePatterns = ("*",)
    """The envelope senders whose messages get it: user@domain, domain, *.domain or * (all)."""

    def plain(self) -> DisclaimerFilter:
        """Return the filter as a plain value."""
        spec = f"disclaimer:{self.name}"
        return DisclaimerFilter(spec, self.text_file, self.html_file, self.sender)


class ArchiveSettings(Table):
    """A copy of each message in a maildir, for the filter archive:NAME."""

    directory: DirectoryPath = Field(examples=["/var/mail/archive"])
    """The maildir. It is created if its parent directory exists."""

    by_day: Flag = False
    """A maildir for each day of arrival, DIRECTORY/2026-11-29 and so on."""

    envelope: Flag = False
    """Put the envelope in front of each copy: X-Envelope-From, and an X-Envelope-To for each
    recipient."""

    def plain(self) -> ArchiveFilter:
        """Return the filter as a plain value."""
        return ArchiveFilter(f"archive:{self.name}", self.directory, self.by_day, self.envelope)


class RewriteSettings(Table):
    """Other addresses in envelope and header, for the filter rewrite:NAME."""

    map_file: FilePath = Field(examples=["/etc/emailrelay/addresses"])
    """The map: in each line an address, @domain or a name of this host, and the addresses that take
    its place."""

    senders: Flag = True
    """Rewrite the sender of the envelope."""

    recipients: Flag = True
    """Rewrite the recipients of the envelope."""

    headers: Flag = True
    """Rewrite the addresses in From, Sender, Reply-To, To, Cc and their Resent- forms."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.senders or self.recipients or self.headers):
            raise ValueError("needs one of senders, recipients and headers")
        return self

    def plain(self) -> RewriteFilter:
        """Return the filter as a plain value."""
        spec = f"rewrite:{self.name}"
        return RewriteFilter(spec, self.map_file, self.senders, self.recipients, self.headers)
