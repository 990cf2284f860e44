"""Exit codes: one table for all verbs, and streams that end early."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from ovperc.cli.exits import ExitCode, Terminated, UsageError, run_to_exit_code
from ovperc.cli.main import VERBS, main
from ovperc.core.errors import DataError

ROOT = Path(__file__).parents[2]


def raising(error: BaseException):
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (ValueError("x"), 2),
        (TypeError("x"), 2),
        (FileNotFoundError(2, "x"), 2),
        (ModuleNotFoundError("x"), 2),
        (DataError("x"), 1),
        (OSError(errno.ENOSPC, "x"), 1),
        (KeyboardInterrupt(), 130),
        (Terminated(), 143),
    ],
)
def test_errors_have_their_code_and_one_line(error: BaseException, code: int, capsys) -> None:
    assert run_to_exit_code(raising(error)) == code
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and shown.count("\n") == 1


def test_faults_of_the_program_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_to_exit_code(raising(ZeroDivisionError()))


def test_results_are_passed_on() -> None:
    assert run_to_exit_code(lambda: None) == 0
    assert run_to_exit_code(lambda: ExitCode.SOME_FAILED) == 1


def test_warnings_are_lines(capsys) -> None:
    assert run_to_exit_code(lambda: warnings.warn("the word is rare", stacklevel=2)) == 0
    assert capsys.readouterr().err == "warning: the word is rare\n"


def test_what_is_kept_after_a_stop_is_said(capsys) -> None:
    assert run_to_exit_code(raising(KeyboardInterrupt()), "half is kept") == 130
    assert capsys.readouterr().err == "error: interrupted; half is kept\n"


def test_the_handler_of_sigterm_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    run_to_exit_code(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_options_are_usage_errors(verb: str, capsys) -> None:
    assert main([verb, "--no-such-option"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and f"ovperc {verb} --help" in shown and shown.count("\n") == 1


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=ROOT, env=environment)


def test_a_reader_that_stops_early_is_no_error() -> None:
    done = shell(f"{sys.executable} -m ovperc info | head -1; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_output_is_one_line() -> None:
    done = shell(f"{sys.executable} -m ovperc download --list > /dev/full")
    assert done.returncode == 1 and done.stderr == "error: [Errno 28] No space left on device\n"


def test_names_that_the_terminal_lacks_are_escaped() -> None:
    code = "from ovperc.cli.exits import run_to_exit_code as run; raise SystemExit(run(lambda: print('caf\\u00e9')))"
    done = shell(f'{sys.executable} -c "{code}"', PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stdout == "caf\\xe9\n"
