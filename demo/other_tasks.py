"""The other two tasks of ``make demo``: objects in boxes, and damage on products that no training image showed."""

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
DAMAGE = (("wood", "burn"), ("ring", "crack"), ("hexagon", "dent"), ("diamond", "missing part"))


def detect(out: Path, scenes: int = 4) -> Path:
    """Boxes and masks in scenes of ``world-ovd``; half of the objects are pairs of words that training held out.

    Args:
        out: folder that receives ``boxes.png``.
        scenes: number of scenes.

    Returns:
        The picture.
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
    print(f"\nobjects of {scenes} generated scenes in boxes (fvlm): {', '.join(counts)} objects marked")
    print(f"  {out / 'boxes.png'}")
    return out / "boxes.png"


def find_damage(out: Path) -> Path:
    """Damage on products of ``world-anomaly`` whose category and kind of defect are not in the training of the prompts.

    Args:
        out: folder that receives ``damage.png``.

    Returns:
        The picture.
    """
    predictor = ovperc.load("anomalyclip")
    drawn, titles = [], []
    for category, kind in DAMAGE:
        images = WorldAnomaly(good=0, per_kind=1, categories=(category,))
        index = [record.kind for record in images.records].index(kind)
        prediction = predictor.predict(images[index].image, images.words[category])
        drawn.append(prediction.draw(images[index].image))
        titles.append(f"{category}: {kind}")
    with staged_directory(out) as folder:
        panel(drawn, titles).save(folder / "damage.png", optimize=True)
    print(f"\ndamage on products never met (anomalyclip): {', '.join(titles)}")
    print(f"  {out / 'damage.png'}")
    return out / "damage.png"
