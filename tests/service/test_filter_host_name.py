"""The name of this host for filters: the setting ``domain``, or the name of the machine."""

import socket
from pathlib import Path

from tests.fakes.filter_servers import serving
from tests.fakes.milters import ScriptedMilter
from tests.service.filtering import CONTENT, Desk, envelope_of
from tests.service.forwarder_process import put
from tests.service.test_reload import running, stage_is

from emailrelay.config import FilterdSettings, ForwarderSettings, read
from emailrelay.filters.program import Programs
from emailrelay.filters.verdict import Accept
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store


async def test_milter_and_message_id_have_the_domain(tmp_path: Path) -> None:
    async with Programs(domain="relay.test") as programs:
        desk = Desk(tmp_path, programs)
        for domain in ("relay.test", "new.test", None):
            programs.domain = domain
            host = (domain or socket.gethostname()).encode()
            script, copy = ScriptedMilter(), desk.copy(CONTENT)
            async with serving(script) as place:
                spoken = await desk.ask(f"milter:{place}", "msgid:", copy=copy)
            assert spoken.verdict == Accept()
            assert b"@" + host + b">\r\n" in copy.content.read_bytes()
            assert script.told(b"H") == [host + b"\0"]
            (connect,) = (data for data in script.told(b"D") if data.startswith(b"C"))
            assert connect.startswith(b"Cj\0" + host + b"\0")
            assert envelope_of(copy).arrival is None


async def test_filterd_follows_the_setting(tmp_path: Path) -> None:
    text = f'filter = ["msgid:", "archive:{tmp_path}/box"]\ndomain = '
    async with (
        open_store(tmp_path / "spool", report=lambda _event: None) as store,
        running(tmp_path, "filterd", f'{text}"old.test"\n') as filterd,
    ):
        await stage_is(store, await put(store, stage=Stage.UNFILTERED), Stage.READY)
        told = await filterd.reload(f'{text}"new.test"\n')
        assert told["changed"] == "domain"
        await stage_is(store, await put(store, stage=Stage.UNFILTERED), Stage.READY)
    written = [file.read_bytes() for file in sorted((tmp_path / "box/new").iterdir())]
    assert [b"@old.test>\r\n" in written[0], b"@new.test>\r\n" in written[1]] == [True, True]


def test_services_that_run_filters_have_the_setting() -> None:
    words = ["--domain=relay.test", "--spool-dir=/s"]
    assert read(FilterdSettings, words, {}).domain == "relay.test"
    assert read(ForwarderSettings, [*words, "--forward-to=h:25"], {}).domain == "relay.test"
