"""Locates weights of anomaly heads: bundled ones by name, others by path."""

from __future__ import annotations

from pathlib import Path

from ovperc.core.naming import suggest
from ovperc.weights.catalogue import get_entry, list_weights, resolve_weights


def head_weights_file(source: str | Path, kind: str) -> Path:
    """Path of bundled weights (``"anomalyclip-mini"``) or of a file.

    Args:
        source: name or path.
        kind: expected content, for the error message.

    Raises:
        FileNotFoundError: there is no such name or file; the message suggests close matches.
    """
    names = [name for name in list_weights() if get_entry(name).family == "heads"]
    path = resolve_weights(str(source)) if str(source) in names else Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no {kind} found at {str(source)!r}; {suggest(str(source), names)}")
    return path
