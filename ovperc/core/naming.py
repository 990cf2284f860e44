"""Names in messages: lists, and near matches for names that do not exist; standard library only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(name: str, known: Iterable[str]) -> str:
    """A sentence that offers near matches of ``name``, or lists what is known."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(repr(match) for match in near)}?"
    return f"known: {', '.join(names) or 'none'}"


def join_names(names: Iterable[str]) -> str:
    """``"a, b and c"``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
