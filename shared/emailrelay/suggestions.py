"""The name that a misspelt or foreign word for a setting probably means."""

from collections.abc import Collection

_OTHER_WORDS = {
    "account": ("client_auth",),
    "address": ("interface",),
    "bind": ("interface",),
    "cert": ("server_tls_certificate",),
    "certificate": ("server_tls_certificate",),
    "config_file": ("config",),
    "database": ("store",),
    "database_url": ("store",),
    "directory": ("spool_dir",),
    "filters": ("filter",),
    "forward": ("forward_to",),
    "host": ("smarthosts", "forward_to"),
    "hostname": ("domain",),
    "listen": ("interface",),
    "listen_address": ("interface",),
    "listen_port": ("port",),
    "log_level": ("verbose",),
    "max_message_size": ("size",),
    "message_size_limit": ("size",),
    "myhostname": ("domain",),
    "password": ("password_file", "client_auth"),
    "processes": ("workers",),
    "queue_dir": ("spool_dir",),
    "relay_host": ("forward_to",),
    "relayhost": ("forward_to",),
    "secrets": ("client_auth",),
    "server": ("smarthosts", "forward_to"),
    "servers": ("smarthosts", "forward_to"),
    "settings": ("config",),
    "smart_host": ("smarthosts", "forward_to"),
    "smarthost": ("smarthosts", "forward_to"),
    "smarthosts": ("forward_to",),
    "smtp_port": ("port",),
    "spool": ("spool_dir",),
    "spool_directory": ("spool_dir",),
    "starttls": ("server_tls",),
    "store_url": ("store",),
    "threads": ("workers",),
    "tls_certificate": ("server_tls_certificate",),
    "user_name": ("user",),
    "username": ("user",),
}
"""Words of other mail programs and of common speech, each with the settings that it may mean."""

_SHORT = 5
"""Words up to this length may have one mistake, longer ones two."""
_SIMILAR = 0.8


def suggest(word: str, names: Collection[str]) -> str | None:
    """Return the name among ``names`` that ``word`` probably means, or None.

    Both are spelt as in a settings file, as ``spool_dir``.
    """
    meant = _other_word(word, names)
    if meant is not None:
        return meant
    most = 1 if len(word) <= _SHORT else 2
    near = min(names, key=lambda name: (_mistakes(word, name), name), default=None)
    if near is not None and _mistakes(word, near) <= most:
        return near
    import difflib  # noqa: PLC0415 - only needed for mistakes

    similar = difflib.get_close_matches(word, sorted(names), n=1, cutoff=_SIMILAR)
    if similar:
        return similar[0]
    return next(
        (
            meant
            for other in _OTHER_WORDS
            if _mistakes(word, other) == 1 and (meant := _other_word(other, names))
        ),
        None,
    )


def _other_word(word: str, names: Collection[str]) -> str | None:
    return next((name for name in _OTHER_WORDS.get(word, ()) if name in names), None)


def _mistakes(one: str, other: str) -> int:
    """Count letters that are missing, added, wrong, or exchanged with their neighbour.

    This is the optimal string alignment distance (Damerau 1964). The standard library has no
    measure for which two exchanged letters, as in ``prot``, are one mistake.
    """
    before, last = list[int](), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, target in enumerate(other, 1):
            best = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != target))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == target:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, last = last, row
    return last[-1]
