"""Advice for the answers of servers: first those of common providers, then all others."""

import re
from dataclasses import dataclass

from emailrelay.reply import Reply
from emailrelay_forwarder.doctor.stranger import Stranger
from emailrelay_forwarder.session.session_error import SessionStep

_OAUTH = (
    "make an [[account]] with mechanism xoauth2 and a table [account.oauth2] in the settings file"
)

_NOT_FROM_THE_FIRST_OCTET = (
    "this port does not speak TLS from the first octet: leave out client-tls-connection "
    "(465 has it, 587 and 25 use STARTTLS)"
)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer to be known by its words; the first that fits is taken."""

    words: re.Pattern[str]
    remedy: str
    steps: frozenset[SessionStep] = frozenset(SessionStep)


def _answer(words: str, remedy: str, *steps: SessionStep) -> _Answer:
    return _Answer(re.compile(words, re.IGNORECASE), remedy, frozenset(steps or SessionStep))


_ANSWERS = (
    _answer(
        r"5\.7\.139|basic authentication is disabled|SmtpClientAuthentication is disabled",
        "Microsoft 365 takes no passwords here any more: "
        f"{_OAUTH}; an administrator must allow authenticated SMTP for the mailbox",
    ),
    _answer(
        r"5\.7\.57\b",
        "Microsoft 365 wants a login before it takes mail from elsewhere: set client-auth or an [[account]]",
    ),
    _answer(
        r"5\.7\.60\b|SendAsDenied|5\.2\.252",
        "the login may not send as this sender: use the mailbox's own address, or have SendAs allowed; "
        "a [[route]] can put it in place of the sender (envelope_from)",
    ),
    _answer(
        r"application-specific password|app(lication)? password|5\.7\.9\b",
        "this account needs a password made for applications (an app password; two-step verification "
        "must be on), or OAuth2: put it into the secrets file",
        SessionStep.AUTH,
    ),
    _answer(
        r"not verified|sandbox",
        "Amazon SES sends only from, and in its sandbox only to, addresses that were verified there: "
        "verify the sender's address or domain, or ask for production access",
    ),
    _answer(
        r"starttls|encryption (is )?required|must issue a starttls|5\.7\.10\b|4\.7\.10\b|"
        r"requires? (tls|encryption)",
        "the one side wants encryption where the other does not: set client-tls (587) or "
        "client-tls-connection (465), and look whether something in between strips STARTTLS",
    ),
    _answer(
        r"certificate has expired",
        "the server's owner must renew the certificate; look at this machine's clock, too",
    ),
    _answer(r"not yet valid", "look at this machine's clock"),
    _answer(
        r"mismatch|it is for .*, not for",
        "use the name that is in the certificate as the host, or say it with client-tls-verify-name",
    ),
    _answer(
        r"self-signed|unable to get local issuer|unable to verify the first certificate",
        "give the authority's certificate (PEM) with client-tls-verify, "
        "or install the system's package of authorities (ca-certificates)",
    ),
    _answer(
        r"wrong version number|record layer failure|spoke before the handshake",
        _NOT_FROM_THE_FIRST_OCTET,
        SessionStep.TLS,
    ),
    _answer(
        r"perhaps the server speaks no TLS|unsupported protocol|protocol version",
        "the server may know only versions of TLS older than 1.2, which are broken: it must be updated",
        SessionStep.TLS,
    ),
    _answer(
        r"no password goes over",
        "switch encryption on (client-tls, client-tls-connection); only in a network of your own: "
        "client-auth-in-clear",
    ),
    _answer(
        r"no common way to sign in",
        "see which mechanisms EHLO offers under TLS, and what client-auth-config and the form of the "
        "secret leave; a server that offers none here may do so on port 587",
        SessionStep.AUTH,
    ),
    _answer(r"no token for", "look with: emailrelay-auth status", SessionStep.AUTH),
    _answer(
        r"no client account|selector",
        "add the line to the secrets file: client plain USER PASSWORD [SELECTOR]",
        SessionStep.AUTH,
    ),
    _answer(
        r"spamhaus|blocklist|blacklist|block list|black list|\brbl\b|listed (at|in|by)|dynamic ip|"
        r"residential",
        "this address is on a block list, as those of most homes are: send through your provider's "
        "smarthost, with a login",
    ),
    _answer(
        r"too many (connections|messages|errors)|rate limit|throttl|4\.7\.28|try again later",
        "the server wants less at a time: lower connections-per-route, or set a rate for the [[route]]",
    ),
    _answer(
        r"relay(ing)? (access )?(denied|disallowed|not permitted|prohibited)|unable to relay|"
        r"authentication (is )?required|must authenticate|not authenticated|auth.*first",
        "the server takes mail for others only after a login: set client-auth or an [[account]]; "
        "or have this machine's address allowed there",
    ),
    _answer(
        r"sender (address )?(rejected|not (allowed|owned))|not (allowed|permitted|authorized) to send|"
        r"from address|5\.7\.26|\bspf\b|\bdmarc\b",
        "the server does not want this sender from here: use an address that belongs to the login, "
        "or add this server to the domain's SPF record",
    ),
    _answer(
        r"(helo|ehlo).*(invalid|reject|fully|fqdn)|fully.qualified host",
        "give this machine's full name with domain",
    ),
    _answer(
        r"unrecogni[sz]ed auth|mechanism",
        "choose another with client-auth-config",
        SessionStep.AUTH,
    ),
    _answer(
        r"does not exist|no such user|unknown user|user unknown|5\.1\.1\b",
        "the recipient does not exist there: look at the spelling",
        SessionStep.RCPT,
    ),
    _answer(
        r"4\.4\.3.*no name server",
        "look at /etc/resolv.conf, and whether the name server can be reached",
    ),
    _answer(r"4\.4\.3", "look at the spelling of the host's name"),
    _answer(
        r"login with USER|USER and PASS",
        "this is an FTP server, no mail server: look at host and port",
        SessionStep.EHLO,
    ),
)

_PORTS = "look at the port (587 and 465 for logins, 25 between servers)"
_OF_STRANGERS = {
    Stranger.MAIL_IN_TLS: "this port speaks TLS from the first octet: set client-tls-connection",
    Stranger.TLS: "this port speaks TLS from the first octet, and no mail server greets there; "
    f"perhaps it is a web server (HTTPS): {_PORTS}",
    Stranger.SSH: f"an SSH server answers there, no mail server: {_PORTS}",
    Stranger.HTTP: f"a web server (HTTP) answers there, no mail server: {_PORTS}",
    Stranger.IMAP: f"an IMAP server answers there, from which mail is fetched: {_PORTS}",
    Stranger.POP3: f"a POP3 server answers there, from which mail is fetched: {_PORTS}",
    Stranger.OTHER: f"what answers there is no mail server: {_PORTS}",
    Stranger.CLOSES: "something takes the connection and ends it without a word: the server may refuse "
    "this machine's address, or a proxy or port forwarding has no server behind it; look at its log",
    Stranger.SILENT: "something takes the connection and says nothing: a slow server (try "
    "--prompt-timeout 300), or a firewall or proxy that answers in its place",
}
_BY_STEP = {
    SessionStep.AUTH: "look at user and password (many want the full address as the user), and try them once "
    "by hand: repeated wrong tries may lock the account",
    SessionStep.TLS: "see what the server says to: openssl s_client -starttls smtp -connect HOST:PORT",
    SessionStep.STARTTLS: "the server cannot encrypt just now; ask its owner",
    SessionStep.GREETING: "the server does not want us, or is no mail server: look at host and port",
    SessionStep.EHLO: "the server does not want us under this name (see domain), or is no mail server: "
    "look at host and port",
    SessionStep.MAIL: "the server does not want this sender; try another with --from",
    SessionStep.RCPT: "the server does not want this recipient from us; try another with --to",
}


def remedy_for(step: SessionStep, reply: Reply, *, port: str = "", ours: bool = False) -> str:
    """Say what may help against a refusal or a trouble at ``step``.

    ``ours``: the reply is what this relay found; else the server said it.
    """
    if step is SessionStep.CONNECT and (known := _unreachable(reply, port)):
        return known
    for answer in _ANSWERS:
        if step in answer.steps and answer.words.search(reply.text):
            return answer.remedy
    if ours and reply.text.startswith("4.4.2"):
        return _cut_off(step, reply)
    if reply.code == 421:
        return (
            "the server is busy, shuts down, or has too many connections from here: the relay tries "
            "mail again"
        )
    if (
        not ours
        and 450 <= reply.code <= 452
        and step not in {SessionStep.GREETING, SessionStep.EHLO}
    ):
        return "the server is busy or keeps strangers waiting (greylisting): the relay tries mail again"
    return _BY_STEP.get(step, "")


def remedy_against(stranger: Stranger, *, in_tls: bool) -> str:
    """Say what may help where no mail server greets.

    ``in_tls``: TLS was begun at the first octet.
    """
    if stranger is Stranger.MAIL:
        return _NOT_FROM_THE_FIRST_OCTET if in_tls else ""
    if stranger is Stranger.MAIL_IN_TLS and in_tls:
        return ""
    return _OF_STRANGERS[stranger]


def _cut_off(step: SessionStep, reply: Reply) -> str:
    if "no answer" in reply.text:
        return f"the server was silent at {step}: it is overloaded, or something in between lost the connection"
    return (
        f"the server ended the connection at {step}: it may refuse this machine's address or name (see "
        "domain), or be no mail server; its own log says why"
    )


def _unreachable(reply: Reply, port: str) -> str:
    if "cannot assign requested address" in reply.text:
        return "this machine does not have the address in client-interface"
    if "unreachable" in reply.text or "no route to host" in reply.text:
        return "this machine has no route to that address (for IPv6 that is frequent): see ip route"
    if "does not answer" in reply.text:
        if port == "25":
            return (
                "something in between drops the connection: most homes and clouds may not use port 25; "
                "use 587 or 465 with a login"
            )
        return (
            "a firewall drops the connection, or the host is down: look at host, port and routing"
        )
    if "refused" in reply.text:
        return (
            "no server listens there: look at the port (587 and 465 for logins, 25 between servers)"
        )
    return ""
