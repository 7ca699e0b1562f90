"""Known replies of servers, and the remedy for each."""

import re
from dataclasses import dataclass

from emailrelay.reply import Reply
from emailrelay_forwarder.session.reply_words import own_words
from emailrelay_forwarder.session.session_error import SessionStep

_OAUTH = (
    "make an [[account]] with mechanism xoauth2 and a table [account.oauth2] in the settings file"
)

NO_TLS_AT_FIRST = (
    "this port does not speak TLS from the first octet: leave out client-tls-connection "
    "(465 has it, 587 and 25 use STARTTLS)"
)


@dataclass(frozen=True, slots=True)
class _KnownReply:
    """Words that identify a reply. The first entry that matches is used."""

    words: re.Pattern[str]
    remedy: str
    steps: frozenset[SessionStep] = frozenset(SessionStep)


def _known(words: str, remedy: str, *steps: SessionStep) -> _KnownReply:
    return _KnownReply(re.compile(words, re.IGNORECASE), remedy, frozenset(steps or SessionStep))


_KNOWN_REPLIES = (
    _known(
        r"5\.7\.139|basic authentication is disabled|SmtpClientAuthentication is disabled",
        "Microsoft 365 no longer accepts passwords here: "
        f"{_OAUTH}; an administrator must allow authenticated SMTP for the mailbox",
    ),
    _known(
        r"5\.7\.57\b",
        "Microsoft 365 relays mail only after a login: set client-auth or an [[account]]",
    ),
    _known(
        r"5\.7\.60\b|SendAsDenied|5\.2\.252",
        "the login has no permission to send as this sender: use the mailbox's own address, or "
        "grant SendAs; a [[route]] can replace the sender (envelope_from)",
    ),
    _known(
        r"application-specific password|app(lication)? password|5\.7\.9\b",
        "this account needs OAuth2, or an app password in the secrets file (two-step verification "
        "must be on to create one)",
        SessionStep.AUTH,
    ),
    _known(
        r"not verified|sandbox",
        "Amazon SES accepts only verified senders, and in its sandbox only verified recipients: "
        "verify the sender's address or domain there, or request production access",
    ),
    _known(
        r"the server offers no STARTTLS",
        "use a port on which the server encrypts (587, or 465 with client-tls-connection), and "
        "check whether a firewall removes STARTTLS; only in your own network: client-tls = false, "
        "for an account also client-auth-in-clear",
        SessionStep.STARTTLS,
    ),
    _known(
        r"starttls|encryption (is )?required|must issue a starttls|5\.7\.10\b|4\.7\.10\b|"
        r"requires? (tls|encryption)",
        "one side requires encryption and the other does not offer it: set client-tls (587) or "
        "client-tls-connection (465), and check whether a firewall removes STARTTLS",
    ),
    _known(
        r"certificate has expired",
        "the server's owner must renew the certificate; check this machine's clock, too",
    ),
    _known(r"not yet valid", "check this machine's clock"),
    _known(
        r"mismatch|it is for .*, not for",
        "use the name in the certificate as the host, or set it with client-tls-verify-name",
    ),
    _known(
        r"self-signed|unable to get local issuer|unable to verify the first certificate",
        "give the CA's certificate (PEM) with client-tls-verify, "
        "or install the system's CA certificates (package ca-certificates)",
    ),
    _known(
        r"wrong version number|record layer failure|spoke before the handshake",
        NO_TLS_AT_FIRST,
        SessionStep.TLS,
    ),
    _known(
        r"perhaps the server speaks no TLS|unsupported protocol|protocol version",
        "the server may support only TLS versions before 1.2, which are broken: update the server",
        SessionStep.TLS,
    ),
    _known(
        r"no password goes over",
        "switch encryption on (client-tls, client-tls-connection); only in your own network: "
        "client-auth-in-clear",
    ),
    _known(
        r"no common way to sign in",
        "compare the mechanisms that EHLO offers under TLS with client-auth-config and the form of "
        "the secret; a server that offers none here may do so on port 587",
        SessionStep.AUTH,
    ),
    _known(r"no token for", "see emailrelay-auth status", SessionStep.AUTH),
    _known(
        r"no client account|selector",
        "add the line to the secrets file: client plain USER PASSWORD [SELECTOR]",
        SessionStep.AUTH,
    ),
    _known(
        r"spamhaus|blocklist|blacklist|block list|black list|\brbl\b|listed (at|in|by)|dynamic ip|"
        r"residential",
        "this machine's address is on a block list, like most home addresses: send through your "
        "provider's smarthost, with a login",
    ),
    _known(
        r"too many (connections|messages|errors)|rate limit|throttl|4\.7\.28|try again later",
        "the server limits the rate: lower connections-per-route, or set a rate for the [[route]]",
    ),
    _known(
        r"relay(ing)? (access )?(denied|disallowed|not permitted|prohibited)|unable to relay|"
        r"authentication (is )?required|must authenticate|not authenticated|auth.*first",
        "the server relays mail only after a login: set client-auth or an [[account]]; "
        "or ask its owner to allow this machine's address",
    ),
    _known(
        r"sender (address )?(rejected|not (allowed|owned))|"
        r"not (allowed|permitted|authorized) to send|from address|5\.7\.26|\bspf\b|\bdmarc\b",
        "the server rejects this sender from here: use an address that belongs to the login, "
        "or add this server to the domain's SPF record",
    ),
    _known(
        r"(helo|ehlo).*(invalid|reject|fully|fqdn)|fully.qualified host",
        "set domain to this machine's full name",
    ),
    _known(
        r"unrecogni[sz]ed auth|mechanism",
        "choose another mechanism with client-auth-config",
        SessionStep.AUTH,
    ),
    _known(
        r"does not exist|no such user|unknown user|user unknown|5\.1\.1\b",
        "the recipient does not exist there: check the spelling",
        SessionStep.RCPT,
    ),
    _known(
        r"4\.4\.3.*no name server",
        "check /etc/resolv.conf, and whether the name server can be reached",
    ),
    _known(r"4\.4\.3", "check the spelling of the host's name"),
    _known(
        r"login with USER|USER and PASS",
        "this is an FTP server, not a mail server: check host and port",
        SessionStep.EHLO,
    ),
)


def known_remedy(step: SessionStep, reply: Reply) -> str:
    """Return the remedy for a known reply at ``step``; empty: the reply is unknown."""
    text = own_words(reply)
    for known in _KNOWN_REPLIES:
        if step in known.steps and known.words.search(text):
            return known.remedy
    return ""
