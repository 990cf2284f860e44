"""``world-anomaly`` as files in the layout of MVTec AD, to try folder readers and other software on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ovperc.core.atomic import atomic_write
from ovperc.data.world.anomaly import WorldAnomaly


def write_world_anomaly(folder: str | Path, images: WorldAnomaly | None = None) -> int:
    """Writes ``CATEGORY/train/good``, ``CATEGORY/test/KIND`` and ``CATEGORY/ground_truth/KIND/NNN_mask.png``.

    Args:
        folder: where to; made if missing, files of the same names are replaced.
        images: what to write; the benchmark's by default.

    Returns:
        How many files were written.
    """
    root, images = Path(folder).expanduser(), WorldAnomaly() if images is None else images
    files = 0
    for category in images.categories:
        for number in range(images.num_normal(category)):
            _write(root / category / "train" / "good" / f"{number:03d}.png", images.normal_image(category, number))
            files += 1
    for index, record in enumerate(images.records):
        category, kind, number = record.name.split("/")
        sample = images[index]
        _write(root / category / "test" / kind / f"{number}.png", sample.image)
        files += 1
        if record.anomalous:
            mask = sample.mask.astype(np.uint8) * 255
            _write(root / category / "ground_truth" / kind / f"{number}_mask.png", mask)
            files += 1
    return files


def _write(path: Path, pixels: np.ndarray) -> None:
    with atomic_write(path) as (temporary,):
        Image.fromarray(pixels).save(temporary, "PNG")
