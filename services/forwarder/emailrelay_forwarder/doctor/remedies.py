"""What to do about a server's answer: the answers of providers that people meet most, and all others."""

import re
from dataclasses import dataclass

from emailrelay.reply import Reply
from emailrelay_forwarder.trouble import Step

_OAUTH = (
    "make an [[account]] with mechanism xoauth2 and a table [account.oauth2] in the settings file"
)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer to be known by its words; the first that fits is taken."""

    words: re.Pattern[str]
    remedy: str
    steps: frozenset[Step] = frozenset(Step)


def _answer(words: str, remedy: str, *steps: Step) -> _Answer:
    return _Answer(re.compile(words, re.IGNORECASE), remedy, frozenset(steps or Step))


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
        Step.AUTH,
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
        "this port does not speak TLS from the first octet: leave out client-tls-connection "
        "(465 has it, 587 and 25 use STARTTLS)",
        Step.TLS,
    ),
    _answer(
        r"perhaps the server speaks no TLS|unsupported protocol|protocol version",
        "the server may know only versions of TLS older than 1.2, which are broken: it must be updated",
        Step.TLS,
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
        Step.AUTH,
    ),
    _answer(r"no token for", "look with: emailrelay-auth status", Step.AUTH),
    _answer(
        r"no client account|selector",
        "add the line to the secrets file: client plain USER PASSWORD [SELECTOR]",
        Step.AUTH,
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
    _answer(r"unrecogni[sz]ed auth|mechanism", "choose another with client-auth-config", Step.AUTH),
    _answer(
        r"does not exist|no such user|unknown user|user unknown|5\.1\.1\b",
        "the recipient does not exist there: look at the spelling",
        Step.RCPT,
    ),
    _answer(r"4\.4\.3", "look at the spelling of the host's name, and at /etc/resolv.conf"),
)

_BY_STEP = {
    Step.AUTH: "look at user and password (many want the full address as the user), and try them once "
    "by hand: repeated wrong tries may lock the account",
    Step.TLS: "see what the server says to: openssl s_client -starttls smtp -connect HOST:PORT",
    Step.STARTTLS: "the server cannot encrypt just now; ask its owner",
    Step.GREETING: "the server does not want us, or is no mail server: look at host and port",
    Step.EHLO: "the server does not want us under this name: see domain",
    Step.MAIL: "the server does not want this sender; try another with --from",
    Step.RCPT: "the server does not want this recipient from us; try another with --to",
}


def remedy_for(step: Step, reply: Reply, *, port: str = "") -> str:
    """Say what may help against a refusal or a trouble at ``step``."""
    if step is Step.CONNECT and (known := _unreachable(reply, port)):
        return known
    if step is Step.GREETING and port == "465" and reply.text.startswith("4.4.2"):
        return "port 465 speaks TLS from the first octet: set client-tls-connection"
    for answer in _ANSWERS:
        if step in answer.steps and answer.words.search(reply.text):
            return answer.remedy
    if reply.code == 421 or 450 <= reply.code <= 452:
        return "the server is busy or keeps strangers waiting (greylisting): mail is tried again by itself"
    return _BY_STEP.get(step, "")


def _unreachable(reply: Reply, port: str) -> str:
    if "does not answer" in reply.text or "unreachable" in reply.text.lower():
        if port == "25":
            return (
                "something in between drops the connection: most homes and clouds may not use port 25; "
                "use 587 or 465 with a login"
            )
        return (
            "a firewall drops the connection, or the host is down: look at host, port and routing"
        )
    if "refused" in reply.text.lower() or "Connect call failed" in reply.text:
        return "nobody listens there: look at the port (587 and 465 for logins, 25 between servers)"
    return ""
