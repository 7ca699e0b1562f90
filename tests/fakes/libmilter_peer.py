"""A milter on Sendmail's own libmilter, for Debian's Python with ``python3-milter``.

``python3 libmilter_peer.py SOCKET``. It does what the header ``X-Script`` of each message asks for:
a JSON list of calls of ``Milter.Base``, the last one the verdict. For the sender
``VERDICT-STEP@x.test`` that step has this verdict.
"""
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false

import json
import sys

import Milter

ACTIONS = (
    Milter.ADDHDRS
    | Milter.CHGHDRS
    | Milter.CHGBODY
    | Milter.ADDRCPT
    | Milter.DELRCPT
    | Milter.QUARANTINE
    | Milter.CHGFROM
)
VERDICTS = {
    "continue": Milter.CONTINUE,
    "accept": Milter.ACCEPT,
    "reject": Milter.REJECT,
    "discard": Milter.DISCARD,
    "tempfail": Milter.TEMPFAIL,
}


class Scripted(Milter.Base):
    """Makes the calls at the end of the message."""

    def envfrom(self, sender, *words):  # noqa: ARG002 - the library's signature
        """Forget the message before."""
        self.script = [["continue"]]
        self.verdict, _, self.step = sender.strip("<>").partition("@")[0].partition("-")
        return self._at("mail")

    def envrcpt(self, recipient, *words):  # noqa: ARG002 - the library's signature
        """Answer for this step."""
        return self._at("rcpt")

    def data(self):
        """Answer for this step."""
        return self._at("data")

    def header(self, name, value):
        """Keep the script."""
        if name.lower() == "x-script":
            self.script = json.loads(value)
        return self._at("header")

    def eoh(self):
        """Answer for this step."""
        return self._at("eoh")

    def body(self, chunk):  # noqa: ARG002 - the library's signature
        """Answer for this step."""
        return self._at("body")

    def _at(self, step):
        return VERDICTS[self.verdict] if step == self.step else Milter.CONTINUE

    def eom(self):
        """Make the calls."""
        for call, *arguments in self.script[:-1]:
            body = call == "replacebody"
            getattr(self, call)(*(arguments[0].encode(),) if body else arguments)
        (verdict,) = self.script[-1]
        return VERDICTS[verdict]


Milter.factory = Scripted
Milter.set_flags(ACTIONS)
Milter.runmilter("scripted", sys.argv[1], 600)
