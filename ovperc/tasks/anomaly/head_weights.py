"""Where the small files of anomaly heads are: shipped ones by name, others by path."""

from __future__ import annotations

from pathlib import Path

from ovperc.core.naming import suggest
from ovperc.weights.catalogue import get_entry, list_weights, resolve_weights


def head_weights_file(source: str | Path, kind: str) -> Path:
    """The file of a shipped name (``"anomalyclip-mini"``) or a path.

    Args:
        source: name or path.
        kind: what it should hold, for the error.

    Raises:
        FileNotFoundError: neither a name nor a file; near matches are offered.
    """
    names = [name for name in list_weights() if get_entry(name).family == "heads"]
    path = resolve_weights(str(source)) if str(source) in names else Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of {kind} {str(source)!r}; {suggest(str(source), names)}")
    return path
