"""Checkpoints in several files, listed by an index."""

from __future__ import annotations

import json
from pathlib import Path

from ovperc.weights.errors import CheckpointError

INDEX_SUFFIX = ".index.json"
"""How the name of an index ends."""


def shard_names(index: Path) -> list[str]:
    """Files that an index names, in order; they lie next to it.

    Raises:
        CheckpointError: no index, or names that lead elsewhere.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of a checkpoint in several files: {error!r}") from error
    strange = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if strange or not names:
        raise CheckpointError(f"{index} names files that do not lie next to it: {strange[:2]}")
    return names
