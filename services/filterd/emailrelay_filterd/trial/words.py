"""Reads the words of the command line of ``emailrelay-filter-test``; errors are of argparse."""

import math
from argparse import ArgumentTypeError
from ipaddress import ip_address

from emailrelay.envelope import NULL_SENDER, Address
from emailrelay.errors import DamagedMessage
from emailrelay.filters.result import check_address


def sender(text: str) -> Address:
    """Return the address of a sender; nothing is the null sender."""
    return recipient(text) if text else NULL_SENDER


def recipient(text: str) -> Address:
    """Return the address of a recipient, or the name of a mailbox."""
    address = Address(text)
    try:
        check_address(address)
    except (DamagedMessage, UnicodeError) as error:
        raise ArgumentTypeError(f"{text!a}: write the address alone, as ann@example.com") from error
    return address


def client(text: str) -> str:
    """Return the address of a client: that of a host, or the path of a unix socket."""
    if text.startswith("/"):
        return name(text)
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise ArgumentTypeError(f"{text!a}: write an IP address, or a path") from error


def name(text: str) -> str:
    """Return the name of a client or user."""
    if not text.isprintable():
        raise ArgumentTypeError(f"{text!a}: write characters that can be printed")
    return text


def seconds(text: str) -> float:
    """Return a time limit."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (number > 0 and math.isfinite(number)):
        raise ArgumentTypeError(f"{text!a}: write a number of seconds above 0")
    return number
