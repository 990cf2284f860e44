"""Score table of an anomaly run: one row per image, including failed ones."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from ovperc.io.writers.base import OutputSettings, Writer

COLUMNS = ("image", "score", "anomalous", "threshold", "regions", "anomalous_px", "largest_box", "error")


class ScoresWriter(Writer):
    """``scores.csv``."""

    run_files = ("scores.csv",)

    def __init__(self, settings: OutputSettings) -> None:
        super().__init__(settings)
        self._rows: list[dict[str, Any]] = []

    def record(self, source: str, prediction: Any) -> None:
        """Adds the row of an image."""
        threshold = prediction.calibration.image_threshold
        largest = max(prediction.regions, key=lambda region: region.area_px, default=None)
        self._rows.append(
            {
                "image": source,
                "score": f"{prediction.image_score:.6f}",
                "anomalous": "" if prediction.is_anomalous is None else int(prediction.is_anomalous),
                "threshold": "" if threshold is None else f"{threshold:.6f}",
                "regions": len(prediction.regions),
                "anomalous_px": prediction.anomalous_px,
                "largest_box": "" if largest is None else " ".join(map(str, largest.box)),
            }
        )

    def record_failure(self, source: str, error: Exception) -> None:
        """Adds the row of a failed image."""
        self._rows.append({"image": source, "error": str(error)})

    def finish(self, folder: Path) -> None:
        """Writes the table; file names that are not valid UTF-8 are escaped."""
        file = folder / self.run_files[0]
        with file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as table:
            writer = csv.DictWriter(table, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(self._rows)
