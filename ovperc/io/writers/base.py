"""Base class of output writers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from PIL.Image import Image

Draw = Callable[[], "Image"]


@dataclass(frozen=True)
class OutputSettings:
    """File naming of a task.

    Attributes:
        saved: suffixes of the files that ``prediction.save`` writes, such as ``(".png", ".json")``.
        picture: stem suffix of rendered images, such as ``"overlay"`` for ``STEM_overlay.png``.
    """

    saved: tuple[str, ...]
    picture: str


class Writer:
    """Writes the predictions of a run in one format; subclasses override the methods they need.

    All file names are known before the first image, so a run that would overwrite a user's file never starts.

    Args:
        settings: file naming of the task.
    """

    run_files: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: OutputSettings) -> None:
        self.settings = settings

    def image_files(self, stem: str) -> tuple[str, ...]:
        """Files of an image, relative to the output folder."""
        return ()

    def write(self, folder: Path, stem: str, prediction: Any, draw: Draw) -> None:
        """Writes the files of an image.

        Args:
            folder: temporary folder; its files are moved to the output folder together.
            stem: file stem of the image.
            prediction: prediction for the image.
            draw: renders the prediction on its image.
        """

    def record(self, source: str, prediction: Any) -> None:
        """Called after the files of an image are in place.

        Args:
            source: path or URL of the image.
            prediction: prediction for the image.
        """

    def record_failure(self, source: str, error: Exception) -> None:
        """Called for an image that failed."""

    def finish(self, folder: Path) -> None:
        """Writes ``run_files`` to a folder; also called after Ctrl-C, for the images completed so far."""
