"""Rules between options: shorthands, contradictions, and options without effect."""

from collections.abc import Iterator
from pathlib import Path

from emailrelay.classic.command_line import GivenOptions
from emailrelay.classic.option import OptionGroup, OptionKind, OptionUse
from emailrelay.classic.options import BY_NAME
from emailrelay.filters.spec import is_quoted, quoted, unquoted

_FLAGS_OF = {
    "as-server": ("log", "close-stderr"),
    "as-client": ("log", "no-syslog", "no-daemon", "dont-serve", "forward"),
    "as-proxy": ("log", "close-stderr", "immediate"),
}
_TRIGGERS = ("forward", "poll", "forward-on-disconnect", "immediate")
_FACILITIES = frozenset(
    ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv"]
    + [f"local{number}" for number in range(8)]
)
_LINE_PREFIXES = frozenset({"time", "address"})
_PATHS = frozenset({"CA", "DIR", "FILE", "PEM,...", "SPEC", "SPEC,..."})
"""The metavars of options with values that can be paths."""


def absolute(asked: GivenOptions, here: Path) -> GivenOptions:
    """Make paths absolute, from the directory of the start: a daemon works in another one."""
    values = dict(asked.values)
    for name, given in values.items():
        if BY_NAME[name].word in _PATHS:
            values[name] = tuple(_absolute_path(value, here) for value in given)
    return GivenOptions(values, asked.off)


def _absolute_path(value: str, here: Path) -> str:
    if is_quoted(value):
        return quoted(_absolute_path(unquoted(value), here))
    if value.startswith("<"):
        # ``<default>`` is not a path.
        return value
    kind, colon, rest = value.partition(":")
    if colon and "/" not in kind:
        # ``exit:0`` is not a path.
        return f"file:{here / rest}" if kind == "file" and rest else value
    return str(here / value) if value else value


def expand(asked: GivenOptions) -> tuple[GivenOptions, list[str]]:
    """Return the options with those that the shorthands stand for, and the contradictions."""
    values, problems = dict(asked.values), list[str]()
    others = [name for name in ("as-server", "as-proxy") if asked.on(name)]
    if asked.on("as-client") and others:
        text = "--as-client: cannot be combined with --{}; one forwards and ends, the other serves"
        return asked, [text.format(other) for other in others]
    for shorthand, flags in _FLAGS_OF.items():
        if not asked.on(shorthand):
            continue
        for flag in flags:
            if flag not in asked.off:
                values.setdefault(flag, ("yes",))
        if (place := asked.value(shorthand)) not in (None, "yes"):
            before = values.setdefault("forward-to", (place,))
            if before != (place,):
                problems.append(
                    f"--{shorthand} {place}: contradicts another target, {before[0]}; "
                    "name one target only"
                )
    return GivenOptions(values, asked.off), problems


def problems(asked: GivenOptions) -> list[str]:
    """Return the problems of expanded options, a line for each, with the name of the option."""
    return [
        *_numbers(asked),
        *_words(asked),
        *_forwarding(asked),
        *_serving(asked),
        *_companions(asked),
    ]


def _numbers(asked: GivenOptions) -> Iterator[str]:
    for name, least in (("port", 0), ("admin", 1)):
        text = asked.value(name)
        if text is not None and not (
            text.isascii() and text.isdigit() and least <= int(text) < 65536
        ):
            yield f"--{name}: {text!r} is not a port number from {least} to 65535"


def _words(asked: GivenOptions) -> Iterator[str]:
    for name in ("pid-file", "log-file", "user", "spool-dir", "forward-to"):
        if asked.value(name) == "":
            yield f"--{name}: needs a value, as in --{name} {BY_NAME[name].word}"
    for name, values in asked.values.items():
        # An empty list of TLS details is allowed. An empty list of addresses or filters is wrong.
        if not values and BY_NAME[name].kind is OptionKind.LIST and name != "tls-config":
            yield f"--{name}: needs a value, as in --{name} {BY_NAME[name].word}"
    for facility in asked.values_of("syslog"):
        if facility.lower() not in _FACILITIES:
            yield (
                f"--syslog: there is no facility {facility!r}; "
                f"one of {', '.join(sorted(_FACILITIES))}"
            )
    for word in asked.values_of("log-format"):
        if word not in _LINE_PREFIXES:
            yield f"--log-format: {word!r} is not one of {', '.join(sorted(_LINE_PREFIXES))}"


def _forwarding(asked: GivenOptions) -> Iterator[str]:
    if not asked.on("forward-to"):
        for name in asked.values:
            option = BY_NAME[name]
            if name in _TRIGGERS:
                yield f"--{name}: there is no server to forward to; add --forward-to HOST:PORT"
            elif (
                _belongs_to_side(name, OptionGroup.CLIENT, "client-")
                and option.use is OptionUse.SERVICES
            ):
                yield f"--{name}: has no effect without --forward-to"


def waits_for_a_signal(asked: GivenOptions) -> bool:
    """Tell whether mail is forwarded at SIGUSR1 only."""
    return asked.on("forward-to") and not any(asked.on(name) for name in (*_TRIGGERS, "admin"))


def _serving(asked: GivenOptions) -> Iterator[str]:
    why = next((name for name in ("dont-serve", "no-smtp") if asked.on(name)), None)
    if why is None:
        return
    served = [
        name for name in asked.values if _belongs_to_side(name, OptionGroup.SERVER, "server-")
    ]
    unserved = [*served, *(n for n in ("immediate", "forward-on-disconnect") if asked.on(n))]
    if why == "dont-serve":
        unserved += [name for name in ("admin", "admin-terminate") if asked.on(name)]
    # The forwarder uses our domain too, in EHLO.
    yield from (f"--{name}: has no effect with --{why}" for name in unserved if name != "domain")
    works = asked.on("forward") or asked.on("poll")
    if not works and not (why == "no-smtp" and asked.on("admin")):
        yield f"--{why}: leaves nothing to do; add --forward or --poll with --forward-to HOST:PORT"


def _companions(asked: GivenOptions) -> Iterator[str]:
    for name, *others in (
        ("admin-terminate", "admin"),
        ("verbose", "log"),
        ("debug", "log"),
        ("filter-timeout", "filter", "client-filter"),
        ("verify-recipients", "immediate"),
    ):
        if asked.on(name) and not any(asked.on(other) for other in others):
            yield f"--{name}: has no effect without --{others[0]}"


def _belongs_to_side(name: str, group: OptionGroup, prefix: str) -> bool:
    return BY_NAME[name].group is group or name.startswith(prefix)
