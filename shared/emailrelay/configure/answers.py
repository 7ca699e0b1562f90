"""The answers to the questions of ``emailrelay-config init``, and the files that they make."""

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from emailrelay.config.values import destination
from emailrelay.secrets.passwd import xtext
from emailrelay.service.checks import host_name
from emailrelay.toml_text import quoted

LOCAL = "local"
"""The answer that only programs on this machine can send."""

_SUBMISSION, _SUBMISSIONS, _SMTP = 587, 465, 25
"""RFC 6409 section 3.1, RFC 8314 section 7.3, RFC 5321 section 4.5.4.2."""

_HEAD = """\
# Settings of E-MailRelay, made by emailrelay-config init. All commands of this host read them.
# All settings: man 5 emailrelay.toml. After a change: emailrelay-config check
"""


class Answers(NamedTuple):
    """The answers, valid and complete."""

    smarthost: str
    """HOST:PORT."""
    account: str
    """The user name at the smarthost; empty for none."""
    networks: tuple[str, ...]
    """The networks whose hosts can send; empty: only this machine."""

    @property
    def needs_secrets(self) -> bool:
        """Tell whether there is anything for a secrets file."""
        return bool(self.account or self.networks)


def read_smarthost(text: str, *, signs_in: bool) -> str:
    """Return the smarthost as HOST:PORT; without a port, it is the usual one.

    Raises:
        ValueError: it is not an address; the text says what to write.

    """
    text = text.strip()
    usual = _SUBMISSION if signs_in else _SMTP
    bare = text and not text.startswith("/") and ":" not in text.rpartition("]")[2]
    return destination(f"{text}:{usual}" if bare else text)


def read_account(text: str) -> str:
    """Return the user name, or an empty text for "none".

    Raises:
        ValueError: it contains a control character.

    """
    name = text.strip()
    if not name.isprintable():
        raise ValueError("the user name must not contain control characters")
    return "" if name.lower() == "none" else name


def read_clients(text: str) -> tuple[str, ...]:
    """Return the networks, or none for "local".

    Raises:
        ValueError: it is neither, or a network is that of all hosts.

    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words in ([], [LOCAL]):
        return ()
    return tuple(_network(word) for word in words)


def _network(word: str) -> str:
    try:
        network = ipaddress.ip_network(word, strict=False)
    except ValueError:
        raise ValueError(
            f"{word}: write {LOCAL}, or networks such as 192.168.0.0/24,fd00::/8"
        ) from None
    if network.prefixlen == 0:
        raise ValueError(f"{word}: every host in the world could send mail (an open relay)")
    return str(network)


def settings_text(answers: Answers, secrets: str, machine: str) -> str:
    """Return the settings file.

    ``secrets`` is the path of the secrets file, ``machine`` the name of this machine.
    """
    named = quoted(secrets)
    parts = [
        _HEAD,
        f"# The next mail server. All mail goes there.\nforward_to = {quoted(answers.smarthost)}\n",
    ]
    if answers.smarthost.endswith(f":{_SUBMISSIONS}"):
        parts.append("# Port 465 encrypts from the first octet.\nclient_tls_connection = true\n")
    if answers.account:
        parts.append(f"# The file with the account there.\nclient_auth = {named}\n")
    if answers.networks:
        shown = ", ".join(answers.networks)
        parts.append(
            f"# Hosts in {shown} can send mail without a login;\n"
            f'# the lines "server none" of this file name them. Other hosts must log in.\n'
            f"server_auth = {named}\n"
        )
    else:
        parts.append('# Only programs on this machine can send mail.\ninterface = ["127.0.0.1"]\n')
    if host_name.is_short(machine):
        parts.append(
            f"# The name of this host for other servers, if it is not {machine}: "
            "some servers refuse a\n"
            f'# name without a dot.\n# domain = "{machine}.example.com"\n'
        )
    return "\n".join(parts)


def secrets_text(answers: Answers, password: str) -> str:
    """Return the secrets file (docs/secrets.md)."""
    lines = ["# Secrets of E-MailRelay, made by emailrelay-config init: man emailrelay-passwd"]
    if answers.account:
        lines.append(f"client plain {xtext(answers.account)} {xtext(password)}")
    if answers.networks:
        own = ["127.0.0.0/8", "::1"]
        lines += [f"server none {network} {LOCAL}" for network in own]
        lines += [f"server none {network} lan" for network in answers.networks]
    return "".join(f"{line}\n" for line in lines)


def check_password(text: str) -> str:
    """Return a password from one line.

    Raises:
        ValueError: it is empty or not one line.

    """
    password = text.rstrip("\r\n")
    if not password:
        raise ValueError("the password is empty")
    if not password.isprintable():
        raise ValueError("the password must be one line of printable characters")
    return password


def next_steps(
    answers: Answers, written: Sequence[str], machine: str, *, config: str = ""
) -> list[str]:
    """Return the lines about the result and the next steps.

    ``config``: the settings file, if an option named it; the next command needs that option too.
    """
    lines = [f"written: {path}" for path in written]
    if host_name.is_short(machine):
        lines.append(f"note: {host_name.advice(machine)}")
    named = f" --config {config}" if config else ""
    lines.append(f"next: emailrelay-config check{named}")
    if answers.networks:
        lines.append(
            "other hosts can log in: emailrelay-passwd makes their lines in the secrets file"
        )
    return lines
