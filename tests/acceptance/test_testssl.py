"""testssl, which knows the weaknesses of TLS servers, finds none in the receiver."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.acceptance.relay import Relay
from tests.fakes.certificates import make_certificates

_PATIENCE = 1500.0
_NOT_OURS = ("cert_", "DNS_CAArecord")
"""Findings about the certificate and the name, which are the administrator's."""
_NOT_SURE = frozenset({"sessionresumption_ID"})
"""The parts that testssl could not find out."""

pytestmark = [
    pytest.mark.scan,
    pytest.mark.skipif(shutil.which("testssl") is None, reason="testssl is not installed"),
]


@pytest.mark.timeout(_PATIENCE)
@pytest.mark.parametrize("at_once", [False, True], ids=["STARTTLS", "implicit TLS"])
def test_nothing_is_found(
    relay: Relay,
    tmp_path: Path,
    at_once: bool,  # noqa: FBT001 - a row of the table
) -> None:
    files = make_certificates(tmp_path, "localhost")
    tls = "--server-tls-connection" if at_once else "--server-tls"
    # It comes many times in an instant, and is no ordinary client.
    wide = "--client-connections=200"
    receiver = relay.receiver(tls, f"--server-tls-certificate={files.server}", wide).start()
    told = tmp_path / "told.json"
    command = ["testssl", "--quiet", "--color", "0", "--add-ca", str(files.authority)]
    command += ["--jsonfile", str(told), "-p", "-U", "-S"]
    command += [] if at_once else ["-t", "smtp"]
    subprocess.run(
        [*command, f"127.0.0.1:{receiver.port}"],
        check=False,
        capture_output=True,
        timeout=_PATIENCE,
    )
    findings = json.loads(told.read_text())
    assert {"TLS1_3", "heartbleed", "LUCKY13", "cert_trust"} <= {one["id"] for one in findings}
    bad = [
        one
        for one in findings
        if one["severity"] not in {"OK", "INFO", "DEBUG"}
        and not one["id"].startswith(_NOT_OURS)
        and one["id"] not in _NOT_SURE
    ]
    assert bad == []
