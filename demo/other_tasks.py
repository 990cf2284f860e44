"""The other two tasks of ``make demo``: detection, and anomaly localization on unseen products."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import ovperc
from ovperc.core.atomic import staged_directory
from ovperc.data.world.anomaly import WorldAnomaly
from ovperc.data.world.detection import WorldDetection
from ovperc.viz.draw import panel

SHOWN_PX = 336
SURE = 0.4
DEFECTS = (("wood", "burn"), ("ring", "crack"), ("hexagon", "dent"), ("diamond", "missing part"))


def detect(out: Path, scenes: int = 4) -> Path:
    """Boxes and masks in scenes of ``world-ovd``; half of the objects are pairs held out of training.

    Args:
        out: folder that receives ``boxes.png``.
        scenes: number of scenes.

    Returns:
        Path of the image.
    """
    images = WorldDetection(num_scenes=scenes)
    predictor = ovperc.load("fvlm")
    drawn, counts = [], []
    for index in range(scenes):
        sample = images[index]
        prediction = predictor.predict(sample.image, list(images.classes)).above(SURE)
        counts.append(f"{len(prediction)} of {len(sample.boxes)}")
        big = Image.fromarray(sample.image).resize((SHOWN_PX, SHOWN_PX), Image.Resampling.LANCZOS)
        drawn.append(predictor.predict(big, list(images.classes)).draw(big, min_score=SURE))
    with staged_directory(out) as folder:
        panel(drawn).save(folder / "boxes.png", optimize=True)
    print(f"\nobjects of {scenes} generated scenes (fvlm): {', '.join(counts)} objects detected")
    print(f"  {out / 'boxes.png'}")
    return out / "boxes.png"


def find_anomalies(out: Path) -> Path:
    """Anomalies on products of ``world-anomaly`` whose categories and defects the prompts were not trained on.

    Args:
        out: folder that receives ``anomalies.png``.

    Returns:
        Path of the image.
    """
    predictor = ovperc.load("anomalyclip")
    drawn, titles = [], []
    for category, kind in DEFECTS:
        images = WorldAnomaly(good=0, per_kind=1, categories=(category,))
        index = [record.kind for record in images.records].index(kind)
        prediction = predictor.predict(images[index].image, images.words[category])
        drawn.append(prediction.draw(images[index].image))
        titles.append(f"{category}: {kind}")
    with staged_directory(out) as folder:
        panel(drawn, titles).save(folder / "anomalies.png", optimize=True)
    print(f"\nanomalies on unseen products (anomalyclip): {', '.join(titles)}")
    print(f"  {out / 'anomalies.png'}")
    return out / "anomalies.png"
