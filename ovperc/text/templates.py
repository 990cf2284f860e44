"""Prompt templates."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ovperc.core.naming import suggest

_IN_SCENE = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
# Part of the digest: change it with ``TemplateSet.expand``, so that cached embeddings are recomputed.
_ARTICLE_RULE = "articles-1"
_DETERMINERS = frozenset({"a", "an", "the", "some", "any", "one", "two", "three", "many", "several"})
# fmt: off
_MASS_NOUNS = frozenset({
    "asphalt", "background", "bark", "boards", "brick", "bricks", "carpet", "cement", "clay", "cloth", "cobblestone",
    "concrete", "cork", "cotton", "denim", "dirt", "earth", "fabric", "foam", "foliage", "fur", "glass",
    "grass", "gravel", "ground", "hair", "ice", "lava", "lawn", "leather", "leaves", "linen", "marble",
    "metal", "moss", "mud", "paper", "pavement", "pebbles", "plaster", "plastic", "rock", "rust", "sand", "sandstone",
    "sky", "smoke", "snow", "soil", "steel", "stone", "stones", "straw", "tarmac", "texture", "tiles", "velvet",
    "water", "wicker", "wood", "wool",
})
# fmt: on


@dataclass(frozen=True)
class TemplateSet:
    """A set of prompt templates.

    Attributes:
        name: name in errors and reports.
        patterns: each with one ``{}``, where the word goes as it is, or one ``{a}``, where it goes with an
            indefinite article, unless it has a determiner or its last word is a mass noun ("a photo of a red
            star" but "a photo of grass").
        mass_nouns: last words that take no article.
    """

    name: str
    patterns: tuple[str, ...]
    mass_nouns: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "patterns", tuple(self.patterns))
        if not self.patterns:
            raise ValueError(f"template set {self.name!r} is empty; give a pattern such as 'a photo of a {{}}.'")
        for pattern in self.patterns:
            if not isinstance(pattern, str):
                raise TypeError(f"a template is a string with one '{{}}'; got {pattern!r}")
            if pattern.count("{}") + pattern.count("{a}") != 1:
                raise ValueError(f"a template needs exactly one '{{}}' or '{{a}}' for the word; got {pattern!r}")

    def expand(self, word: str) -> tuple[str, ...]:
        """Fills the word into every template; braces in the word are kept."""
        with_article = self._with_article(word)
        return tuple(
            pattern.replace("{}", word) if "{}" in pattern else pattern.replace("{a}", with_article)
            for pattern in self.patterns
        )

    @property
    def digest(self) -> str:
        """Hash of the set's behaviour (not its name), 16 hexadecimal digits."""
        content = "\n".join((_ARTICLE_RULE, *self.patterns, "", *sorted(self.mass_nouns)))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.patterns)

    def _with_article(self, word: str) -> str:
        parts = re.findall(r"[\w'-]+", word.lower())
        if not parts or parts[0] in _DETERMINERS or parts[-1] in self.mass_nouns:
            return word
        return f"{'an' if parts[0][0] in 'aeiou' else 'a'} {word}"


def get_templates(name: str | Sequence[str] | TemplateSet) -> TemplateSet:
    """A template set by name.

    Args:
        name: ``openai80`` (the ImageNet sentences of CLIP), ``openai85`` (with five "in the scene"
            sentences more, as MaskCLIP and CLIP Surgery use), ``photo`` ("a photo of a {}."), ``plain`` (the
            word itself), ``world`` (captions of the procedural world); a sequence of own patterns, or a
            set, which passes through.

    Raises:
        ValueError: the name is unknown (the message suggests close matches), or a pattern lacks a placeholder.
    """
    if isinstance(name, TemplateSet):
        return name
    if not isinstance(name, str):
        return TemplateSet("custom", tuple(name))
    if name not in _SETS:
        raise ValueError(f"unknown template set {name!r}; {suggest(name, _SETS)}")
    return _SETS[name]()


def list_templates() -> tuple[str, ...]:
    """Names of the template sets."""
    return tuple(sorted(_SETS))


def _openai80() -> TemplateSet:
    # imported here, because open_clip takes seconds to import
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return TemplateSet("openai80", tuple(sentence("{}") for sentence in OPENAI_IMAGENET_TEMPLATES))


def _openai85() -> TemplateSet:
    return TemplateSet("openai85", _openai80().patterns + _IN_SCENE)


def _world() -> TemplateSet:
    frames = ("{}", "{a}", "a photo of {a}", "an image of {a}", "a picture of {a}", "a close-up photo of {a}")
    return TemplateSet("world", frames, _MASS_NOUNS)


def _photo_mini() -> TemplateSet:
    frames = ("{}", "{a}", "a photo of {a}.", "a photo of the {}.", "a close-up photo of {a}.")
    return TemplateSet("photo_mini", frames, _MASS_NOUNS)


_SETS: dict[str, Callable[[], TemplateSet]] = {
    "openai80": _openai80,
    "openai85": _openai85,
    "photo": lambda: TemplateSet("photo", ("a photo of a {}.",)),
    "photo_mini": _photo_mini,
    "plain": lambda: TemplateSet("plain", ("{}",)),
    "world": _world,
}
