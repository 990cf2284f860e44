"""Names of COCO's and ImageNet-1k's classes as words."""

from __future__ import annotations

from functools import lru_cache

from ovperc.text.class_names import load_class_names


def coco_names() -> tuple[str, ...]:
    """The 133 classes of ``coco-sample``."""
    return tuple(load_class_names("coco_panoptic").classes)


@lru_cache(maxsize=1)
def imagenet_names() -> tuple[tuple[str, ...], ...]:
    """The synonyms of each of the 1,000 classes, in the order of the class index."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return tuple(tuple(name.strip() for name in info.index_to_description(index).split(",")) for index in range(1000))


def class_names() -> tuple[str, ...]:
    """The distinct names of COCO's and ImageNet's classes, synonyms included, in lower case."""
    names = [*coco_names(), *(name.lower() for names in imagenet_names() for name in names)]
    return tuple(dict.fromkeys(names))
