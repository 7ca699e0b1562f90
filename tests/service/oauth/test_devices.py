"""A person signs in on a device."""

import pytest
from tests.fakes.oauth_server import Answer
from tests.service.oauth.sign_ins import refused
from tests.service.signing_in import Desk

from emailrelay.oauth import device
from emailrelay.oauth.device import CodeExpired, Invitation
from emailrelay.oauth.endpoint import TokenRefused

# Devices


async def test_person_signs_in_on_a_device(desk: Desk) -> None:
    account = desk.account("device-code", client_id="public")
    assert "sign in: emailrelay-auth login office" in (await refused(desk)).advice
    renewal = desk.renewal(account)

    def show(invitation: Invitation) -> None:
        desk.server.approve(invitation.code)

    await renewal.keep_sign_in(await device.sign_in(renewal, show))
    assert await desk.bearer()("office") in desk.server.tokens
    desk.later(4000)
    assert await desk.bearer()("office") in desk.server.tokens
    assert desk.server.requests[-1]["grant_type"] == "refresh_token"


async def test_server_is_asked_no_faster_than_it_wishes(desk: Desk) -> None:
    account = desk.account("device-code", client_id="public")
    pauses: list[float] = []
    shown: list[Invitation] = []

    async def hurried(seconds: float) -> None:
        pauses.append(seconds)
        for known in desk.server.devices.values():
            # The time that was to pass has passed; too early by design at the second question.
            known.asked = 0.0 if len(pauses) != 2 else float("inf")
        if len(pauses) == 4:
            desk.server.approve(shown[0].code)

    await device.sign_in(desk.renewal(account), shown.append, sleep=hurried)
    assert pauses == [1, 1, 6, 6]


async def test_outage_while_a_person_signs_in_is_waited_for(desk: Desk) -> None:
    account = desk.account("device-code", client_id="public")
    pauses: list[float] = []

    def show(invitation: Invitation) -> None:
        desk.server.answers += [Answer(0), Answer(503)]
        desk.server.approve(invitation.code)

    async def hurried(seconds: float) -> None:
        pauses.append(seconds)

    issued = await device.sign_in(desk.renewal(account), show, sleep=hurried)
    assert issued.token.text.reveal() in desk.server.tokens
    assert pauses == [1, 2, 4]


async def test_no_of_the_person_ends_the_sign_in(desk: Desk) -> None:
    account = desk.account("device-code", client_id="public")

    def show(invitation: Invitation) -> None:
        desk.server.approve(invitation.code, state="access_denied")

    with pytest.raises(TokenRefused, match="access_denied"):
        await device.sign_in(desk.renewal(account), show)


async def test_code_that_runs_out_ends_the_sign_in(desk: Desk) -> None:
    desk.server.device_lifetime = 0.3
    account = desk.account("device-code", client_id="public")
    with pytest.raises(CodeExpired):
        await device.sign_in(desk.renewal(account), lambda _: None)
