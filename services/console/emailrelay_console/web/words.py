"""Words that several pages use: the menu, actions, addresses, numbers."""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from emailrelay.queue.action import Action
from emailrelay_console.mail.change import MessageChange


class MenuLink(NamedTuple):
    """A page in the menu."""

    path: str
    text: str


LINKS = (
    MenuLink("/", "Overview"),
    MenuLink("/queue", "Queue"),
    MenuLink("/history", "History"),
    MenuLink("/routes", "Routes"),
    MenuLink("/doctor", "Doctor"),
    MenuLink("/accounts", "Accounts"),
)
"""The menu. A page of the console has its line here."""


class ActionWords(NamedTuple):
    """The words for an action on messages."""

    title: str
    """The text of its button."""
    question: str
    """``{}`` stands for the number of messages."""
    done: str
    """Comes before the number of messages."""
    meaning: str = ""


ACTION_WORDS: Mapping[Action, ActionWords] = MappingProxyType(
    {
        Action.FLUSH: ActionWords(
            "Retry now", "Retry {} now?", "Due now:", "Their schedules and ages go on."
        ),
        Action.HOLD: ActionWords(
            "Hold", "Hold {}?", "Held:", "They wait until you release them, however long."
        ),
        Action.RELEASE: ActionWords(
            "Release", "Release {}?", "Released:", "They are tried at once, with a new schedule."
        ),
        Action.RETRY: ActionWords(
            "Start again",
            "Start again with {}?",
            "Due now, with a new schedule:",
            "They are tried as if they had just arrived, even those that failed.",
        ),
        Action.FAIL: ActionWords(
            "Give up",
            "Give up {}?",
            "Given up:",
            "They are not tried again, and their senders get a notice of failure.",
        ),
        Action.DELETE: ActionWords(
            "Delete",
            "Delete {} for good?",
            "Deleted:",
            "They are not delivered, and no sender is notified. This cannot be undone.",
        ),
    }
)


def address(text: str | None) -> str:
    """Write an address; the null sender has a sign of its own."""
    return "?" if text is None else text or "<>"


def iso(moment: float) -> str:
    """Write a time for programs (RFC 3339), in UTC."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    except (OverflowError, ValueError, OSError):  # a journal may hold any number
        return "1970-01-01T00:00:00Z"


def count_words(number: int, noun: str = "message") -> str:
    """Write a number with its noun: ``1 message``, ``1,200 messages``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def result_words(change: MessageChange) -> str:
    """Write how far a change has come."""
    text = f"{ACTION_WORDS[change.action].done} {count_words(change.done)}"
    if change.passed:
        text += f"; {change.passed:,} had left, or were in another state"
    if change.failed:
        text += f"; {change.failed:,} not, because of errors"
    return f"{text}."
