"""What predictions are saved as and loaded from; the picture to look at; the exact anomaly map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ovperc.io.ownership import png_mark
from ovperc.io.writers.base import Draw, Writer


class NativeWriter(Writer):
    """``prediction.save``: what the prediction's ``load`` reads again."""

    def image_files(self, stem: str) -> tuple[str, ...]:
        """``STEM.json`` and what it names."""
        return tuple(f"{stem}{ending}" for ending in self.settings.saved)

    def write(self, folder: Path, stem: str, prediction: Any, draw: Draw) -> None:
        """Saves the prediction."""
        prediction.save(folder / f"{stem}.json")


class ExactMapWriter(Writer):
    """The anomaly map as float32 numpy file, in place of the 16-bit PNG of the native format."""

    def image_files(self, stem: str) -> tuple[str, ...]:
        """``STEM.npy`` and the record that names it."""
        return f"{stem}.npy", f"{stem}.json"

    def write(self, folder: Path, stem: str, prediction: Any, draw: Draw) -> None:
        """Saves the prediction with its exact map."""
        prediction.save(folder / f"{stem}.json", exact=True)


class PictureWriter(Writer):
    """A picture of the prediction on its image."""

    def image_files(self, stem: str) -> tuple[str, ...]:
        """``STEM_overlay.png``, or as the task calls it."""
        return (f"{stem}_{self.settings.picture}.png",)

    def write(self, folder: Path, stem: str, prediction: Any, draw: Draw) -> None:
        """Draws the picture."""
        (name,) = self.image_files(stem)
        draw().save(folder / name, pnginfo=png_mark())
