"""Starts programs in threads of their own, so that the event loop does not wait for the exec.

A thread that starts a program is blocked until the program has replaced the new process: on busy
processors for as long as others run before it. ``subprocess`` and ``os.posix_spawn`` keep the
interpreter's lock meanwhile, so no other thread of Python helps. The C library's ``posix_spawn``,
called through ``ctypes``, does not keep it.

It can set neither umask nor directory; a program gets those of the thread that starts it. Threads
share them, but these here have their own (``CLONE_FS``, see unshare(2)).
"""

import asyncio
import ctypes
import errno
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from queue import SimpleQueue
from typing import NamedTuple

from emailrelay import linux
from emailrelay.filters.child import Child
from emailrelay.filters.surroundings import kill_group
from emailrelay.running_loop import running_loop

_THREADS = 4
"""As many programs as filterd runs at a time by default."""
_CLONE_FS = 0x200
_SET_DEFAULT, _SET_MASK, _SET_SESSION = 0x04, 0x08, 0x80
"""POSIX_SPAWN_SETSIGDEF, POSIX_SPAWN_SETSIGMASK and POSIX_SPAWN_SETSID."""
_ROOM = 1024
"""Octets for an opaque structure of the C library; the largest has 336 of them."""
_UMASK = 0o077
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class ProgramCommand(NamedTuple):
    """A program to be started, as the C library takes it. It gets no further descriptor."""

    argv: "ctypes.Array[ctypes.c_char_p]"
    environment: "ctypes.Array[ctypes.c_char_p]"
    actions: "ctypes.Array[ctypes.c_char]"
    """What is done with its descriptors."""


def command_of(
    argv: Sequence[bytes], environment: Mapping[str, str], stdout: int, *, silent: bool
) -> ProgramCommand:
    """Return the command of a program with empty standard input.

    ``silent``: its standard error is ``/dev/null``; else that of this process.

    Raises:
        OSError: it cannot be expressed.

    """
    variables = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
    return ProgramCommand(_texts(argv), _texts(variables), _actions(stdout, silent=silent))


class SpawnRefused(Exception):
    """The system gives threads no directory of their own; start the program in another way."""


class Spawner:
    """The threads of one process that start programs, made at the first use."""

    def __init__(self) -> None:
        self.works = linux.AVAILABLE and _has_all_calls()
        """False if ``start`` is of no use on this system."""
        self._jobs: SimpleQueue[Callable[[bool], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def start(self, command: ProgramCommand) -> Child:
        """Start a program in a session of its own, with directory ``/`` and umask 077.

        If cancelled, wait for the start, and kill the program.

        Raises:
            SpawnRefused: this system cannot do it; ``works`` is False from now on.
            OSError: the program cannot be started.

        """
        self._start_threads()
        loop = running_loop()
        started: asyncio.Future[Child] = loop.create_future()

        def job(alone: bool) -> None:  # noqa: FBT001 - the queue's items are called in one place
            outcome = _attempted(command) if alone else SpawnRefused()
            self.works &= alone
            with suppress(RuntimeError):  # the loop has ended; the guard finds the program
                loop.call_soon_threadsafe(_resolve, started, outcome)

        self._jobs.put(job)
        try:
            return await asyncio.shield(started)
        except asyncio.CancelledError:
            while not started.done():  # its descriptors must stay open until then
                with suppress(asyncio.CancelledError):
                    await asyncio.wait((started,))
            if started.exception() is None:
                kill_group(started.result())
            raise

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _start_threads(self) -> None:
        while len(self._threads) < _THREADS:
            thread = threading.Thread(target=self._work, name="spawn", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                if self._threads:
                    return  # fewer do as well
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
            self._threads.append(thread)

    def _work(self) -> None:
        alone = _leave_the_others()
        while (job := self._jobs.get()) is not None:
            job(alone)


def _resolve(started: asyncio.Future[Child], outcome: Child | Exception) -> None:
    if isinstance(outcome, Child):
        started.set_result(outcome)
    else:
        started.set_exception(outcome)


def _attempted(command: ProgramCommand) -> Child | Exception:
    try:
        return spawned(command)
    except Exception as error:  # noqa: BLE001 - raised again in the loop
        return error


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _has_all_calls() -> bool:
    """Tell if the C library can close all other descriptors: glibc since 2.34."""
    return hasattr(_libc(), "posix_spawn_file_actions_addclosefrom_np")


def _leave_the_others() -> bool:
    """Give this thread its own directory and umask; False: a sandbox forbids it."""
    if _libc().unshare(ctypes.c_int(_CLONE_FS)) != 0:
        return False
    os.chdir("/")
    os.umask(_UMASK)
    return True


@cache
def _actions(stdout: int, *, silent: bool) -> "ctypes.Array[ctypes.c_char]":
    """Return what is done with the descriptors of a program; the numbers repeat, so it is kept."""
    libc, actions, null = _libc(), ctypes.create_string_buffer(_ROOM), b"/dev/null"
    _check(libc.posix_spawn_file_actions_init(actions))
    _check(libc.posix_spawn_file_actions_addopen(actions, 0, null, os.O_RDONLY, 0))
    _check(libc.posix_spawn_file_actions_adddup2(actions, stdout, 1))
    if silent:
        _check(libc.posix_spawn_file_actions_addopen(actions, 2, null, os.O_WRONLY, 0))
    _check(libc.posix_spawn_file_actions_addclosefrom_np(actions, 3))
    return actions


@cache
def _attributes() -> "ctypes.Array[ctypes.c_char]":
    """Return what is the same for all programs: a new session, and no blocked or ignored signal."""
    libc = _libc()
    attributes, signals = ctypes.create_string_buffer(_ROOM), ctypes.create_string_buffer(_ROOM)
    libc.posix_spawnattr_init(attributes)
    libc.sigemptyset(signals)
    libc.posix_spawnattr_setsigmask(attributes, signals)
    for number in signal.valid_signals():
        if number in _IGNORED_BY_PYTHON or signal.getsignal(number) is not signal.SIG_IGN:
            # The exec sets handlers back as well; named here, they need no look at each signal.
            libc.sigaddset(signals, ctypes.c_int(number))
    libc.posix_spawnattr_setsigdefault(attributes, signals)
    flags = _SET_DEFAULT | _SET_MASK | _SET_SESSION
    libc.posix_spawnattr_setflags(attributes, ctypes.c_short(flags))
    return attributes


def spawned(command: ProgramCommand) -> Child:
    """Start a program; for a thread with directory and umask of its own.

    Raises:
        OSError: it cannot be started.

    """
    pid = ctypes.c_int()
    argv, actions = command.argv, command.actions
    # The only foreign call here: each gives up the interpreter's lock, and waits for it again.
    _check(
        _libc().posix_spawn(
            ctypes.byref(pid), argv[0], actions, _attributes(), argv, command.environment
        )
    )
    return Child(pid.value)


def _texts(words: Sequence[bytes]) -> "ctypes.Array[ctypes.c_char_p]":
    """Return an array that ends with a null pointer."""
    if any(b"\0" in word for word in words):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return (ctypes.c_char_p * (len(words) + 1))(*words)


def _check(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))
