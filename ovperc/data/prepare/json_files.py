"""Reading annotation JSON, with helpful errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ovperc.data.annotations import AnnotationError


def read_json(path: Path, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """Reads a JSON file that contains an object.

    Args:
        path: file.
        required: required keys.

    Raises:
        AnnotationError: the file is truncated, is not an object, or lacks a key.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        size = path.stat().st_size if path.is_file() else 0
        raise AnnotationError(
            f"{path}: expected JSON, found {size} bytes that are truncated or corrupt ({error}); copy it again"
        ) from error
    if not isinstance(content, dict) or any(key not in content for key in required):
        found = sorted(content)[:6] if isinstance(content, dict) else type(content).__name__
        raise AnnotationError(f"{path}: expected the keys {', '.join(required)}; found {found}. Is this another file?")
    return content
