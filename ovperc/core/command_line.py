"""The command that started this process, as it would be typed again."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

_COMMAND = "ovperc"


def command_line(argv: Sequence[str] | None = None) -> tuple[str, ...]:
    """The command's words, without the folders of this machine.

    Args:
        argv: of the process by default.

    Returns:
        ``ovperc VERB ...`` for the installed command and for ``python -m ovperc``, ``python tools/NAME.py ...`` for a
        script; both behind ``torchrun --nproc-per-node N`` where torchrun started the process.
    """
    script, *rest = (sys.argv if argv is None else argv) or [""]
    path = Path(script)
    is_command = path.name == _COMMAND or path.parts[-2:] == (_COMMAND, "__main__.py")
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    launcher = ("torchrun", "--nproc-per-node", str(processes)) if processes > 1 else ()
    if is_command:
        return (*launcher, *(("-m",) if launcher else ()), _COMMAND, *rest)
    python = () if launcher or path.suffix != ".py" else ("python",)
    return (*launcher, *python, "/".join(path.parts[-2:]) if path.suffix == ".py" else path.name, *rest)
