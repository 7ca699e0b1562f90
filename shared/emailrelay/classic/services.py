"""The services that the options need, and the flags of each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from emailrelay import settings_file
from emailrelay.classic.command_line import GivenOptions
from emailrelay.classic.option import Option, OptionKind, OptionUse
from emailrelay.classic.options import BY_NAME
from emailrelay.config import (
    SERVICES,
    Ack,
    FilterdSettings,
    ForwarderSettings,
    ReceiverSettings,
    Settings,
    read,
)
from emailrelay.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Service:
    """A service to run: the type of its settings, and its flags."""

    settings: type[Settings]
    flags: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return its name, as in the log."""
        return self.settings.service

    @property
    def module(self) -> str:
        """Return the module to run, as in ``python -m``."""
        return f"emailrelay_{self.settings.service}"

    def also(self, *flags: str) -> "Service":
        """Return it with more flags."""
        return replace(self, flags=(*self.flags, *flags))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The services to run, in the order in which they are stopped."""

    receiver: Service | None
    filterd: Service | None
    forwarder: Service | None
    """Forwards while the command runs."""
    once: Service | None
    """Tries each message once and ends: at the start (``forward_first``), a signal or a command."""
    forward_first: bool

    @property
    def long_running(self) -> tuple[Service, ...]:
        """Return the services that run until the end."""
        return tuple(s for s in (self.receiver, self.filterd, self.forwarder) if s is not None)


def plan(asked: GivenOptions) -> Plan:
    """Return the services that expanded, consistent options need."""
    serves = not asked.on("dont-serve") and not asked.on("no-smtp")
    target = asked.on("forward-to")
    waits = any(asked.on(name) for name in ("poll", "forward-on-disconnect", "immediate"))
    # Users of the legacy command run emailrelay-notify and scripts that handle *.bad files.
    forwarder = _service(ForwarderSettings, asked).also("--bounces=no", "--keep-failed=0")
    return Plan(
        receiver=_service(ReceiverSettings, asked).also(f"--ack={_ack(asked)}") if serves else None,
        filterd=_service(FilterdSettings, asked) if serves and asked.on("filter") else None,
        forwarder=forwarder if target and waits else None,
        once=_once(forwarder) if target else None,
        forward_first=asked.on("forward"),
    )


def store_settings(asked: GivenOptions, environ: Mapping[str, str]) -> Settings:
    """Return settings that name the store."""
    return read(FilterdSettings, _service(FilterdSettings, asked).flags, own_environment(environ))


def own_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which the services do not read the settings file of all commands.

    This command has its own file (docs/decisions/default-settings-file.md).
    """
    return {settings_file.VARIABLE: "", **environ}


def problems(planned: Plan, asked: GivenOptions, environ: Mapping[str, str]) -> list[str]:
    """Return the problems of the services with their flags, and the options without a service."""
    found = dict.fromkeys(_unavailable(asked))
    for service in (*planned.long_running, *([planned.once] if planned.once else [])):
        try:
            read(service.settings, service.flags, own_environment(environ))
        except ConfigError as error:
            # Several services read the same flag.
            found.update(
                dict.fromkeys(_with_shorthand(problem, asked) for problem in error.problems)
            )
    return list(found)


def _with_shorthand(problem: str, asked: GivenOptions) -> str:
    """Name the shorthand if the target came from it."""
    for shorthand in ("as-client", "as-proxy"):
        if asked.on(shorthand) and problem.startswith("--forward-to: "):
            return problem.replace("--forward-to", f"--{shorthand}", 1)
    return problem


def only_at_start(before: GivenOptions, now: GivenOptions) -> list[str]:
    """Return the options that differ and take effect only at the start of the command."""
    names = sorted(before.values.keys() | now.values.keys())
    return [
        name
        for name in names
        if BY_NAME[name].use is OptionUse.COMMAND and before.values_of(name) != now.values_of(name)
    ]


def available(option: Option) -> bool:
    """Tell whether this release has the option."""
    known = any(option.setting in service.model_fields for service in SERVICES)
    return option.use is OptionUse.COMMAND or (option.use is OptionUse.SERVICES and known)


def _unavailable(asked: GivenOptions) -> Iterator[str]:
    for name in asked.values:
        if not available(BY_NAME[name]):
            yield f"--{name}: not available yet in this version"


def _service(settings: type[Settings], asked: GivenOptions) -> Service:
    flags = ["--log-format=json"]
    for name, values in asked.values.items():
        if _has(settings, name):
            alone = f"--{name}" if BY_NAME[name].kind is OptionKind.OPTIONAL else f"--{name}="
            flags += [f"--{name}={value}" for value in values] or [alone]
    # ``no`` differs from no flag: the environment may contain ``yes``, and by default mail is
    # encrypted where that is possible.
    flags += [f"--{name}=no" for name in sorted(asked.off) if _has(settings, name)]
    return Service(settings, tuple(flags))


def _has(settings: type[Settings], name: str) -> bool:
    option = BY_NAME[name]
    return option.use is OptionUse.SERVICES and option.setting in settings.model_fields


def _once(forwarder: Service) -> Service:
    flags = [flag for flag in forwarder.flags if not flag.startswith("--poll=")]
    return Service(forwarder.settings, (*flags, "--once"))


def _ack(asked: GivenOptions) -> Ack:
    if asked.on("immediate"):
        return Ack.DELIVERED
    return Ack.FILTERED if asked.on("filter") else Ack.STORED
