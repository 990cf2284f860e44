"""ovperc's own formats: saved predictions, overlays, and float32 anomaly maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ovperc.io.ownership import png_mark
from ovperc.io.writers.base import Draw, Writer


class NativeWriter(Writer):
    """Writes ``prediction.save``'s files, which the prediction's ``load`` reads."""

    def image_files(self, stem: str) -> tuple[str, ...]:
        """``STEM.json`` and the files it refers to."""
        return tuple(f"{stem}{ending}" for ending in self.settings.saved)

    def write(self, folder: Path, stem: str, prediction: Any, draw: Draw) -> None:
        """Saves the prediction."""
        prediction.save(folder / f"{stem}.json")


class ExactMapWriter(Writer):
    """Saves the anomaly map as a float32 npy file instead of the native 16-bit PNG."""

    def image_files(self, stem: str) -> tuple[str, ...]:
        """``STEM.npy`` and its ``STEM.json``."""
        return f"{stem}.npy", f"{stem}.json"

    def write(self, folder: Path, stem: str, prediction: Any, draw: Draw) -> None:
        """Saves the prediction with its float32 map."""
        prediction.save(folder / f"{stem}.json", exact=True)


class PictureWriter(Writer):
    """Draws the prediction on its image."""

    def image_files(self, stem: str) -> tuple[str, ...]:
        """``STEM_overlay.png``, or the task's own suffix."""
        return (f"{stem}_{self.settings.picture}.png",)

    def write(self, folder: Path, stem: str, prediction: Any, draw: Draw) -> None:
        """Draws the picture."""
        (name,) = self.image_files(stem)
        draw().save(folder / name, pnginfo=png_mark())
