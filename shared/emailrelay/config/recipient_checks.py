"""The setting that makes the forwarder ask the next server about recipients."""

from typing import Annotated

from pydantic import ValidationInfo, field_validator

from emailrelay.ack import Ack
from emailrelay.config.declared import Declared
from emailrelay.config.values import AtStart, Flag


class RecipientCheckOptions(Declared):
    """Answers of the next server."""

    verify_recipients: Annotated[Flag, AtStart()] = False
    """With immediate delivery (ack = delivered): ask the next server about each recipient, and give
    its answer to the client at RCPT. The receiver and the forwarder both need this setting, and a
    spool on the same host. If the next server does not answer in a few seconds, the client gets
    250, and the delivery decides."""

    @field_validator("verify_recipients")
    @classmethod
    def _can_be_asked(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 -- pydantic calls it
        if not value:
            return value
        if info.data.get("ack", Ack.DELIVERED) is not Ack.DELIVERED:
            raise ValueError("needs ack = delivered: other mail may wait for the next server")
        store: str | None = info.data.get("store")
        if store is not None and ":" in store and not store.startswith("spool:"):
            raise ValueError(
                "needs a spool (spool_dir): the receiver asks the forwarder at a socket beside it"
            )
        return value
