"""One option of the legacy command, with its own description or that of a service's setting."""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import get_origin

from pydantic.fields import FieldInfo

from emailrelay.config import SERVICES, Settings
from emailrelay.config.declared import texts
from emailrelay.config.flags import default_in_words, lone_value, metavar, with_flags


class OptionKind(Enum):
    """The values that may follow an option's name."""

    FLAG = auto()
    """None, or ``=yes`` and ``=no``."""
    VALUE = auto()
    """One value; if the option is repeated, always the same."""
    LIST = auto()
    """Values in a comma list; repeatable."""
    OPTIONAL = auto()
    """``=VALUE`` or none."""


class OptionGroup(StrEnum):
    """The parts of the help, in its order."""

    BASIC = "Basic"
    CLIENT = "Forwarding"
    SERVER = "Receiving"
    AUTH = "Authentication"
    TLS = "Encryption"
    PROCESS = "Process"
    LOGGING = "Log"
    ADMIN = "Administration"
    LATER = "Later"


class OptionUse(Enum):
    """The programs that use an option."""

    COMMAND = auto()
    """The command itself."""
    SERVICES = auto()
    """Each service that has a setting of this name."""
    NONE = auto()
    """None in this release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option. ``word`` stands for its value in the help; ``default`` is in words."""

    name: str
    letter: str = ""
    kind: OptionKind = OptionKind.FLAG
    group: OptionGroup
    use: OptionUse = OptionUse.COMMAND
    word: str = ""
    default: str = ""
    common: bool = False
    """Whether the short help shows it."""
    own_text: str = ""
    """Its description, if it does not have that of a setting."""

    @property
    def setting(self) -> str:
        """Return the name of the services' setting: ``forward_to`` for ``forward-to``."""
        return setting_of(self.name)

    @property
    def text(self) -> str:
        """Return its description. Reading that of a setting takes long: only the help does it."""
        if self.own_text:
            return self.own_text
        service = _service_with(self.setting)
        return with_flags(texts(service)[self.setting], service.model_fields)


def of_setting(
    name: str, letter: str, *, group: OptionGroup, use: OptionUse, common: bool
) -> Option:
    """Return an option with the kind, word, default and description of the setting of its name."""
    setting = setting_of(name)
    info = _service_with(setting).model_fields[setting]
    kind = _kind(info)
    words = {OptionKind.FLAG: "", OptionKind.OPTIONAL: f"[{metavar(info)}]"}
    return Option(
        name=name,
        letter=letter,
        kind=kind,
        group=group,
        use=use,
        word=words.get(kind, metavar(info)),
        default=default_in_words(info),
        common=common,
    )


def setting_of(name: str) -> str:
    """Return the name of the setting for an option's name."""
    return name.replace("-", "_")


def _service_with(setting: str) -> type[Settings]:
    return next(service for service in SERVICES if setting in service.model_fields)


def _kind(info: FieldInfo) -> OptionKind:
    alone, many = lone_value(info) is not None, get_origin(info.annotation) is list
    if many:
        return OptionKind.OPTIONAL if alone else OptionKind.LIST
    return OptionKind.FLAG if alone else OptionKind.VALUE
