"""From an exported folder to its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ovperc.runtime.anomaly import ExportedAnomaly
from ovperc.runtime.base import ExportedModel
from ovperc.runtime.detector import ExportedDetector
from ovperc.runtime.manifest import FolderError, Manifest
from ovperc.runtime.segmenter import ExportedSegmenter
from ovperc.runtime.sessions import SessionOptions

_MODELS: Mapping[str, type[ExportedModel]] = {
    model.task: model for model in (ExportedSegmenter, ExportedDetector, ExportedAnomaly)
}


def load(
    folder: str | Path,
    providers: str | Sequence[Any] = "cpu",
    threads: int | None = None,
    verify: bool = True,
) -> Any:
    """Opens an exported folder.

    Args:
        folder: made by ``ovperc export``.
        providers: ``"cpu"``, ``"cuda"``, ``"tensorrt"``, or ONNX Runtime's own names (also with options, as
            ``("CUDAExecutionProvider", {"device_id": 1})``); several in order of preference.
        threads: CPU threads of the model; ``None`` for all cores.
        verify: compare every file, and the manifest itself, with its sha256 first.

    Returns:
        :class:`ExportedSegmenter`, :class:`ExportedDetector` or :class:`ExportedAnomaly`, by the task of the folder.

    Raises:
        FolderError: the folder is incomplete or corrupt.
        ValueError: an unknown provider, or one that this ONNX Runtime lacks.
    """
    folder = Path(folder).expanduser()
    manifest = Manifest.read(folder, verify)
    if manifest.task not in _MODELS:
        raise FolderError(f"this ovperc opens no folders of the task {manifest.task!r}; install a newer version")
    return _MODELS[manifest.task].open(folder, manifest, SessionOptions.choose(providers, threads), verify)
