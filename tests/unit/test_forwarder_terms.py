"""Rules of sessions with servers: policies, certificate names, parameters, exchanges, remedies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.dsn_request import NO_REQUEST, DsnRequest, Notify, RecipientRequest, Return
from emailrelay.envelope import Address, Body, Envelope
from emailrelay.reply import Reply
from emailrelay.secrets import ClientAccount, Form, Mechanism, Secret
from emailrelay_forwarder.delivery import parameters
from emailrelay_forwarder.doctor.remedies import remedy_for
from emailrelay_forwarder.session import sasl
from emailrelay_forwarder.session.certificate_names import is_for
from emailrelay_forwarder.session.policy import Mode, Policy, Tls, settled
from emailrelay_forwarder.session.session_error import SessionStep

ENVELOPE = Envelope(sender=Address("a@us.test"), to_remote=(Address("b@there.test"),))
ALICE = ClientAccount(selector="", form=Form.PLAIN, id="alice", secret=Secret("open sesame"))


@pytest.mark.parametrize(
    ("tls", "signs_in", "in_clear", "mode", "verify"),
    [
        (Tls(), False, False, Mode.OPPORTUNISTIC, False),
        (Tls(), True, False, Mode.REQUIRED, True),
        (Tls(), True, True, Mode.OPPORTUNISTIC, False),
        (Tls(verify=True), False, False, Mode.REQUIRED, True),
        (Tls(verify=True), True, True, Mode.REQUIRED, True),
        (Tls(verify=False), True, False, Mode.REQUIRED, False),
        (Tls(mode=Mode.OPPORTUNISTIC), True, False, Mode.REQUIRED, True),
        (Tls(mode=Mode.REQUIRED), False, False, Mode.REQUIRED, False),
        (Tls(mode=Mode.IMPLICIT), False, False, Mode.IMPLICIT, False),
        (Tls(mode=Mode.IMPLICIT), True, False, Mode.IMPLICIT, True),
        (Tls(mode=Mode.OFF), True, False, Mode.OFF, False),
    ],
)
def test_a_password_raises_what_is_asked_of_the_connection(
    tls: Tls, *, signs_in: bool, in_clear: bool, mode: Mode, verify: bool
) -> None:
    found = settled(Policy(tls=tls, in_clear=in_clear), signs_in=signs_in)
    assert (found.mode, found.verify) == (mode, verify)


@given(
    tls=st.builds(
        Tls,
        mode=st.none() | st.sampled_from(Mode),
        verify=st.none() | st.booleans(),
    ),
)
def test_no_policy_lets_a_password_go_unprotected_by_itself(tls: Tls) -> None:
    found = settled(Policy(tls=tls), signs_in=True)
    assert found.mode in {Mode.REQUIRED, Mode.IMPLICIT, Mode.OFF}
    assert found.verify or tls.verify is False or found.mode is Mode.OFF


@pytest.mark.parametrize(
    ("alternatives", "wanted", "fits"),
    [
        ((("DNS", "mail.test"),), "mail.test", True),
        ((("DNS", "MAIL.test"),), "mail.Test.", True),
        ((("DNS", "*.mail.test"),), "a.mail.test", True),
        ((("DNS", "*.mail.test"),), "a.b.mail.test", False),
        ((("DNS", "*.mail.test"),), "mail.test", False),
        ((("DNS", "m*.mail.test"),), "ma.mail.test", False),
        ((("DNS", "*.test"),), "mail.test", False),
        ((("DNS", "*"),), "test", False),
        ((("IP Address", "192.0.2.1"),), "192.0.2.1", True),
        ((("IP Address", "2001:DB8:0:0:0:0:0:1"),), "2001:db8::1", True),
        ((("DNS", "192.0.2.1"),), "192.0.2.1", False),
        ((("email", "mail.test"),), "mail.test", False),
        ((), "mail.test", False),
    ],
)
def test_certificate_is_for_its_alternative_names_only(
    alternatives: tuple[tuple[str, str], ...], wanted: str, *, fits: bool
) -> None:
    certificate = {"subject": ((("commonName", "mail.test"),),), "subjectAltName": alternatives}
    assert is_for(certificate, wanted) is fits


EVERYTHING = {"size": "", "8bitmime": "", "auth": "PLAIN", "dsn": "", "smtputf8": ""}
ASKED = DsnRequest(
    give_back=Return.HEADERS,
    envelope_id="QQ314159",
    recipients={
        Address("b@there.test"): RecipientRequest(
            notify=(Notify.SUCCESS, Notify.FAILURE), original="rfc822;b+2Bc@there.test"
        )
    },
)


def test_wishes_for_notices_go_to_servers_that_understand_them() -> None:
    recipient = Address("b@there.test")
    mail = parameters.of_mail(ENVELOPE, 10, ASKED, EVERYTHING)
    assert mail == b" SIZE=10 BODY=8BITMIME RET=HDRS ENVID=QQ314159"
    assert (
        parameters.of_rcpt(recipient, ASKED, EVERYTHING)
        == b" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bc@there.test"
    )
    assert parameters.of_mail(ENVELOPE, 10, ASKED, {"size": ""}) == b" SIZE=10"
    assert parameters.of_rcpt(recipient, ASKED, {}) == b""
    assert parameters.of_rcpt(Address("c@there.test"), ASKED, EVERYTHING) == b""


@pytest.mark.parametrize(
    ("given_in", "given_out", "user", "said"),
    [
        ("", "", "", b""),
        ("a+3Db@us.test", "", "alice", b" AUTH=a+3Db@us.test"),
        ("a@us.test", "", "", b" AUTH=<>"),
        ("<>", "", "alice", b" AUTH=<>"),
        ("a@us.test", "<>", "alice", b" AUTH=<>"),
        ("", "b@us.test", "", b" AUTH=b@us.test"),
        ("x RET=FULL", "", "alice", b" AUTH=<>"),
        ("", "x\r\nRCPT", "", b" AUTH=<>"),
    ],
)
def test_submitter_is_named_where_that_can_be_trusted(
    given_in: str, given_out: str, user: str, said: bytes
) -> None:
    envelope = Envelope(
        sender=Address(""),
        body=Body.SEVEN_BIT,
        mail_from_auth_in=given_in,
        mail_from_auth_out=given_out,
        authentication=user,
    )
    assert parameters.of_mail(envelope, 1, NO_REQUEST, {"auth": "PLAIN"}) == said
    assert parameters.of_mail(envelope, 1, NO_REQUEST, {}) == b""


@given(st.text(), st.text())
def test_parameters_never_break_out_of_their_line(envelope_id: str, original: str) -> None:
    dsn = DsnRequest(
        envelope_id=envelope_id,
        recipients={Address("b@t"): RecipientRequest(original=original)},
    )
    line = parameters.of_mail(ENVELOPE, 1, dsn, EVERYTHING)
    line += parameters.of_rcpt(Address("b@t"), dsn, EVERYTHING)
    assert all(32 <= octet < 127 for octet in line)
    said = [word.partition(b"=")[0] for word in line.split(b" ")[1:]]
    assert said[:2] == [b"SIZE", b"BODY"]
    assert said[2:] in ([], [b"ENVID"], [b"ORCPT"], [b"ENVID", b"ORCPT"])


def test_exchanges_say_what_their_papers_say() -> None:
    plain = sasl.by_password(Mechanism.PLAIN, ALICE)
    assert plain.initial == b"\0alice\0open sesame"
    token = sasl.by_token(Mechanism.OAUTHBEARER, "a,b=c", Secret("t"))
    assert token.initial == b"n,a=a=2Cb=3Dc,\x01auth=Bearer t\x01\x01"
    assert token.answer(0, b"{}") == b"\x01"
    older = sasl.by_token(Mechanism.XOAUTH2, "alice", Secret("t"))
    assert older.initial == b"user=alice\x01auth=Bearer t\x01\x01"
    assert older.answer(0, b"{}") == b""


@pytest.mark.parametrize("mechanism", [Mechanism.LOGIN, Mechanism.PLAIN, Mechanism.CRAM_MD5])
def test_no_exchange_goes_on_for_ever(mechanism: Mechanism) -> None:
    exchange = sasl.by_password(mechanism, ALICE)
    with pytest.raises(sasl.OutOfTurn):
        exchange.answer(2, b"more?")


def test_challenge_is_answered_as_in_rfc_2195() -> None:
    tim = ClientAccount(selector="", form=Form.PLAIN, id="tim", secret=Secret("tanstaaftanstaaf"))
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    answer = sasl.by_password(Mechanism.CRAM_MD5, tim).answer(0, challenge)
    assert answer == b"tim b913a602c7eda7a495b4e6e7334d3890"


@pytest.mark.parametrize(
    ("step", "reply", "port", "advice"),
    [
        (
            SessionStep.AUTH,
            (
                "535 5.7.139 Authentication unsuccessful, "
                "SmtpClientAuthentication is disabled for the Tenant"
            ),
            "587",
            "xoauth2",
        ),
        (
            SessionStep.AUTH,
            "534 5.7.9 Application-specific password required.",
            "587",
            "app password",
        ),
        (
            SessionStep.AUTH,
            "535 5.7.8 Username and Password not accepted",
            "587",
            "user and password",
        ),
        (SessionStep.MAIL, "530 5.7.0 Must issue a STARTTLS command first", "587", "client-tls"),
        (
            SessionStep.MAIL,
            "530 5.7.57 Client not authenticated to send mail",
            "587",
            "client-auth",
        ),
        (SessionStep.MAIL, "530 5.7.1 Authentication required", "587", "client-auth"),
        (
            SessionStep.RCPT,
            "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
            "587",
            "SendAs",
        ),
        (SessionStep.RCPT, "554 5.7.1 <x@y>: Relay access denied", "25", "login"),
        (
            SessionStep.DATA,
            "554 Message rejected: Email address is not verified.",
            "587",
            "Amazon SES",
        ),
        (
            SessionStep.RCPT,
            "550 5.7.1 Service unavailable, Client host blocked using Spamhaus",
            "25",
            "smarthost",
        ),
        (
            SessionStep.CONNECT,
            "451 4.4.1 192.0.2.1:25 does not answer within 40 s",
            "25",
            "port 25",
        ),
        (
            SessionStep.CONNECT,
            "451 4.4.1 192.0.2.1:587 does not answer within 40 s",
            "587",
            "firewall",
        ),
        (SessionStep.CONNECT, "451 4.4.3 no address of x.test: unknown", "25", "spelling"),
        (
            SessionStep.TLS,
            "454 4.7.5 the server's certificate cannot be trusted: certificate has expired",
            "587",
            "renew",
        ),
        (SessionStep.RCPT, "450 4.2.0 greylisted", "25", "retried automatically"),
        (SessionStep.RCPT, "450 4.2.0 <spf@t.example>: greylisted", "25", "retried automatically"),
    ],
)
def test_frequent_answers_have_their_remedy(
    step: SessionStep, reply: str, port: str, advice: str
) -> None:
    assert advice in remedy_for(step, Reply.parse(reply), port=port)
