"""Names of ImageNet-1k's and COCO's classes as words."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from ovperc.data.layout import resolve_root


@lru_cache(maxsize=1)
def imagenet_names() -> tuple[tuple[str, ...], ...]:
    """The synonyms of each of the 1,000 classes, in the order of the class index."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return tuple(tuple(name.strip() for name in info.index_to_description(index).split(",")) for index in range(1000))


# fmt: off
_COCO_WORDS = {
    "door-stuff": "door", "floor-wood": "wooden floor", "mirror-stuff": "mirror", "playingfield": "playing field",
    "wall-brick": "brick wall", "wall-stone": "stone wall", "wall-tile": "tiled wall", "wall-wood": "wooden wall",
    "water-other": "water", "window-blind": "window blind", "window-other": "window", "sky-other": "sky",
    "floor-other": "floor", "food-other": "food", "building-other": "building", "wall-other": "wall",
}
# fmt: on


def coco_word(name: str) -> str:
    """A class name of COCO's panoptic labels as one would say it: ``"wall-brick"`` is ``"brick wall"``."""
    plain = name.removesuffix("-merged")
    return _COCO_WORDS.get(plain, plain)


def coco_names(root: str | Path | None = None) -> tuple[str, ...]:
    """The 133 classes of ``coco_sample`` as words, by rising category id.

    Args:
        root: the folder ``coco_sample``, or the folder of all data sets; None takes ``$OVPERC_DATA``.
    """
    return tuple(coco_word(name) for _, name in sorted(coco_categories(root).items()))


def coco_categories(root: str | Path | None = None) -> dict[int, str]:
    """Category id -> name as published, of the 133 classes; 0 (unlabeled) is left out."""
    path = resolve_root(root, "coco_sample") / "classes.json"
    names = json.loads(path.read_text(encoding="utf-8"))["semantic"]
    return {int(number): name for number, name in names.items() if int(number)}


def class_names(root: str | Path | None = None) -> tuple[str, ...]:
    """The distinct names of COCO's and ImageNet's classes, synonyms included, in lower case."""
    names = [*coco_names(root), *(name.lower() for names in imagenet_names() for name in names)]
    return tuple(dict.fromkeys(names))
