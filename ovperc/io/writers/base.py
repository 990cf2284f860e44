"""The contract of an output format."""

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
    """What a task says about its files.

    Attributes:
        saved: endings of what ``prediction.save`` writes, such as ``(".png", ".json")``.
        picture: ending of the stem of pictures, such as ``"overlay"`` for ``STEM_overlay.png``.
    """

    saved: tuple[str, ...]
    picture: str


class Writer:
    """Writes the predictions of one run in one format; formats replace the methods that they need.

    All names are known before the first image, so that a run that would replace a file of the user never starts.

    Args:
        settings: of the task.
    """

    run_files: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: OutputSettings) -> None:
        self.settings = settings

    def image_files(self, stem: str) -> tuple[str, ...]:
        """Files of one image, relative to the output folder."""
        return ()

    def write(self, folder: Path, stem: str, prediction: Any, draw: Draw) -> None:
        """Writes the files of one image.

        Args:
            folder: a temporary folder, whose files are moved to the output folder together.
            stem: of the image's files.
            prediction: of the image.
            draw: makes the picture of the prediction on its image.
        """

    def record(self, source: str, prediction: Any) -> None:
        """Takes note of an image whose files are in place.

        Args:
            source: path or address of the image.
            prediction: made from it.
        """

    def record_failure(self, source: str, error: Exception) -> None:
        """Takes note of an image that has no files."""

    def finish(self, folder: Path) -> None:
        """Writes ``run_files`` into a folder; also after Ctrl-C, for the images that are complete."""
