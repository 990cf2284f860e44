"""Sentences about flawless and damaged things, composed of a medium, a state and the name of the object.

The sets follow AnoVL (Deng et al., 2023), WinCLIP (Jeong et al., CVPR 2023) and APRIL-GAN (Chen et al., 2023). They are
written as rules because their order and number matter only through the mean of the embeddings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ovperc.core.naming import suggest

Ensemble = Literal["raw_mean", "unit_mean"]
TEXTURES = frozenset({"carpet", "leather", "grid", "tile", "wood"})
"""Names that AnoVL describes as surfaces."""
_ALIASES = {"macaroni1": "macaroni", "macaroni2": "macaroni"}
_WITHOUT = ("{} without flaw", "{} without defect", "{} without damage")
_WITH = ("{} with flaw", "{} with defect", "{} with damage")
_FLAWLESS = ("{}", "flawless {}", "perfect {}", "unblemished {}", *_WITHOUT)
_ARTICLES = ("a", "the")


@dataclass(frozen=True)
class StatePrompts:
    """Two lists of sentences for an object, and how their embeddings become one vector each.

    Attributes:
        normal: sentences of the flawless object.
        abnormal: sentences of the damaged one.
        ensemble: ``raw_mean`` normalises the mean of the embeddings, ``unit_mean`` the mean of the normalised ones.
    """

    normal: tuple[str, ...]
    abnormal: tuple[str, ...]
    ensemble: Ensemble


def state_prompts(name: str, object_name: str) -> StatePrompts:
    """The sentences of a set.

    Args:
        name: ``anovl`` (462 and 462), ``winclip`` (147 and 84), ``april_gan`` (245 and 175), ``photo`` (one each, the
            plain baseline).
        object_name: what the image shows, such as ``"metal nut"``; taken as it is.

    Raises:
        ValueError: an unknown set, or an empty name.
    """
    if name not in _SETS:
        raise ValueError(f"unknown state prompts {name!r}; {suggest(str(name), _SETS)}")
    if not isinstance(object_name, str) or not object_name.strip():
        raise ValueError(f"object_name must say what the image shows, such as 'metal nut'; got {object_name!r}")
    return _SETS[name](object_name.strip())


def compose(states: tuple[str, ...], templates: tuple[str, ...], object_name: str) -> tuple[str, ...]:
    """Every state of the object in every template, templates first."""
    stated = [state.replace("{}", object_name) for state in states]
    return tuple(template.replace("{}", thing) for template in templates for thing in stated)


def medium_templates(medium: str) -> tuple[str, ...]:
    """The 22 sentences about a picture of some kind (``"industrial photo"``) that WinCLIP and AnoVL share."""
    article = "an" if medium[0] in "aeiou" else "a"
    shots = ("cropped", "close-up", "bright", "dark", "jpeg corrupted", "blurry")
    taken = [f"a {shot} {medium} of {the} {{}}" for shot in shots for the in _ARTICLES]
    plain = [f"{article} {medium} of {the} {{}}" for the in _ARTICLES]
    sized = [f"{article} {medium} of {the} {size} {{}}" for size in ("small", "large") for the in _ARTICLES]
    aims = ("visual inspection", "anomaly detection")
    meant = [f"{article} {medium} of {the} {{}} for {aim}" for aim in aims for the in _ARTICLES]
    return (*taken, *plain, *sized, *meant)


def _anovl(object_name: str) -> StatePrompts:
    word = _ALIASES.get(object_name, object_name)
    media = ("industrial photo", "industrial image", "manufacturing image")
    if object_name in TEXTURES:
        media = ("industrial photo", "textural photo", "surface picture")
    templates = tuple(template for medium in media for template in medium_templates(medium))
    normal = ("normal {}", *_FLAWLESS[1:])
    abnormal = ("damaged {}", "abnormal {}", "imperfect {}", "blemished {}", *_WITH)
    return StatePrompts(compose(normal, templates, word), compose(abnormal, templates, word), "raw_mean")


def _winclip(object_name: str) -> StatePrompts:
    # Implementations agree on 21 sentences: "a cropped ... a" is left out, and "jpeg corrupted ... the" stands twice
    # in place of its twin with "a", which weighs in the mean.
    left_out = "a cropped photo of a {}"
    twin, doubled = "a jpeg corrupted photo of a {}", "a jpeg corrupted photo of the {}"
    kept = [template for template in medium_templates("photo") if template != left_out]
    templates = tuple(f"{doubled if template == twin else template}." for template in kept)
    abnormal = ("damaged {}", *_WITH)
    normal = compose(_FLAWLESS, templates, object_name)
    return StatePrompts(normal, compose(abnormal, templates, object_name), "raw_mean")


def _april_gan(object_name: str) -> StatePrompts:
    shots = (
        "bad", "low resolution", "cropped", "bright", "dark", "close-up", "black and white", "jpeg corrupted", "blurry",
        "good",
    )  # fmt: skip
    templates = [f"a {shot} photo of {the} {{}}." for shot in shots for the in _ARTICLES]
    kinds = ("", "cool ", "large ", "small ")
    templates += [f"a photo of {the} {kind}{{}}." for kind in kinds for the in _ARTICLES]
    templates += ["a photo of my {}.", "a photo of one {}."]
    scenes = ("there is a", "there is the", "this is a", "this is the", "this is one")
    templates += [f"{scene} {{}} in the scene." for scene in scenes]
    abnormal = ("damaged {}", "broken {}", *_WITH)
    normal = compose(_FLAWLESS, tuple(templates), object_name)
    return StatePrompts(normal, compose(abnormal, tuple(templates), object_name), "unit_mean")


def _photo(object_name: str) -> StatePrompts:
    return StatePrompts((f"a photo of a {object_name}",), (f"a photo of a damaged {object_name}",), "unit_mean")


_SETS: dict[str, Callable[[str], StatePrompts]] = {
    "anovl": _anovl,
    "winclip": _winclip,
    "april_gan": _april_gan,
    "photo": _photo,
}
