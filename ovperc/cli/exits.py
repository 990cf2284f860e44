"""Exit codes of every verb, and the one place that turns exceptions into them."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from types import MappingProxyType
from typing import NoReturn, TextIO

from ovperc.core.errors import DataError


class ExitCode(IntEnum):
    """Exit codes; :data:`MEANINGS` documents them."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS: Mapping[ExitCode, str] = MappingProxyType(
    {
        ExitCode.DONE: "done",
        ExitCode.SOME_FAILED: "some inputs failed, a check did not pass, or something like a full disk stopped the run",
        ExitCode.USAGE: "usage: an argument is wrong, or something that it names is missing",
        ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
        ExitCode.TERMINATED: "terminated (SIGTERM)",
    }
)
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class UsageError(ValueError):
    """A command line that cannot be run; the message says what to change."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; it unwinds like Ctrl-C."""


def complain(message: object) -> None:
    """Prints an error on standard error."""
    print(f"error: {message}", file=sys.stderr, flush=True)


def say(line: str) -> None:
    """Prints a result line on standard output; when its reader has closed the pipe, the run goes on without it."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        _discard(sys.stdout)


def run_to_exit_code(work: Callable[[], int | None], after_stop: str = "") -> int:
    """Exit code of ``work``; errors that the user can act on become one line on standard error.

    Args:
        work: returns an exit code, or None for :attr:`ExitCode.DONE`.
        after_stop: what remains after Ctrl-C or SIGTERM, to complete the sentence "interrupted; ...".

    Returns:
        A value of :class:`ExitCode`. Errors of the program itself keep their traceback.
    """
    try:
        with _sigterm_raises(), _plain_warnings(), _any_character():
            code = work()
            sys.stdout.flush()
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        complain(f"{'terminated' if terminated else 'interrupted'}{'; ' if after_stop else ''}{after_stop}")
        return ExitCode.TERMINATED if terminated else ExitCode.INTERRUPTED
    except BrokenPipeError:
        _discard(sys.stdout)
        return ExitCode.DONE
    except OSError as error:
        complain(error)
        if error.errno in _DISK_ERRORS:
            _discard(sys.stdout)  # it may be what is full; a second attempt at exit would fail too
            return ExitCode.SOME_FAILED
        return ExitCode.USAGE
    except DataError as error:
        complain(error)
        return ExitCode.SOME_FAILED
    except (ValueError, TypeError, ImportError) as error:
        complain(error)
        return ExitCode.USAGE
    return ExitCode.DONE if code is None else int(code)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Raises :class:`Terminated` on SIGTERM, so that temporary files are removed as on Ctrl-C."""
    owner = os.getpid()

    def terminate(signum: int, _: object) -> NoReturn:
        if os.getpid() != owner:  # a forked worker ends at once
            os._exit(128 + signum)
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # signals are for the main thread; elsewhere the caller handles them
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Prints warnings as one line each on standard error, without their place in the code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"warning: {message}", file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def _any_character() -> Iterator[None]:
    """Prints characters that the terminal's encoding lacks as escapes."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    before = stream.errors
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        stream.reconfigure(errors=before)


def _discard(stream: TextIO) -> None:
    """Sends a stream that takes nothing any more to the null device, so that its flush at exit succeeds."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError, AttributeError):  # a stream without a file, as under tests
        pass
