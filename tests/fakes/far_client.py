"""A receiver and a client at an address that is not loopback; prints the answers to the client.

To be run in a network namespace of its own. Arguments: options of the receiver.
"""

import json
import smtplib
import subprocess
import sys

FAR = "192.0.2.1"  # of a network for documentation (RFC 5737)
DIALOGUE = ("EHLO far.test", "MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>")


def main() -> int:
    command = [sys.executable, "-m", "emailrelay_receiver", "--interface", FAR, "--port", "0"]
    command += ["--log-format", "json", *sys.argv[1:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        place = ""
        while (told := json.loads(process.stdout.readline()))["event"] != "started":
            place = told.get("address", place)
        client = smtplib.SMTP(timeout=30)
        codes = [client.connect(FAR, int(place.rpartition(":")[2]))[0]]
        if codes == [220]:
            codes += [client.docmd(line)[0] for line in DIALOGUE]
        print(json.dumps(codes))  # noqa: T201 -- the test reads it
        client.close()
        process.terminate()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
