"""Exit codes of all verbs, and the mapping of exceptions to them."""

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
        ExitCode.SOME_FAILED: "some inputs failed, a check failed, or the run stopped on an error such as a full disk",
        ExitCode.USAGE: "usage error: an argument is invalid, or something it refers to is missing",
        ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
        ExitCode.TERMINATED: "terminated (SIGTERM)",
    }
)
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class UsageError(ValueError):
    """The command line is invalid; the message says what to change."""


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM; unwinds like Ctrl-C."""


def complain(message: object) -> None:
    """Prints an error to standard error."""
    print(f"error: {message}", file=sys.stderr, flush=True)


def say(line: str) -> None:
    """Prints a result line to standard output; a closed pipe does not stop the run."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        _discard(sys.stdout)


def run_to_exit_code(work: Callable[[], int | None], after_stop: str = "") -> int:
    """Runs ``work`` and returns its exit code; errors that the user can fix are printed as one line to standard error.

    Args:
        work: returns an exit code, or None for :attr:`ExitCode.DONE`.
        after_stop: state after Ctrl-C or SIGTERM; completes the sentence "interrupted; ...".

    Returns:
        A value of :class:`ExitCode`. Internal errors keep their traceback.
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
            _discard(sys.stdout)  # the stream itself may be full; another attempt at exit would fail too
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
    except ValueError:  # signal handlers can only be set in the main thread; elsewhere the caller handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Prints each warning as one line to standard error, without its code location."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"warning: {message}", file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def _any_character() -> Iterator[None]:
    """Prints characters outside the terminal's encoding as escapes."""
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
    """Redirects a broken stream to the null device, so that its flush at exit succeeds."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError, AttributeError):  # a stream without a file, as under tests
        pass
