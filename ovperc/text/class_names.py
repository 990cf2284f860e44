"""Class names of benchmarks: one JSON file per benchmark, with the prompts of each method."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from ovperc.core.naming import suggest
from ovperc.core.structures import Background
from ovperc.text.vocabulary import ClassEntry, Vocabulary


@dataclass(frozen=True)
class ClassNames:
    """The classes of a benchmark, in label order.

    Attributes:
        name: name of the list.
        classes: names without the background; labels follow this order.
        background: whether label 0 is background and the classes start at 1.
        background_words: prompts of the background.
        prompts: class -> prompts, if they differ from its name.
        source: origin of the list.
    """

    name: str
    classes: tuple[str, ...]
    background: bool
    background_words: tuple[str, ...] = ()
    prompts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.prompts) - set(self.classes))
        if unknown:
            raise ValueError(
                f"class list {self.name!r}: prompts are given for {unknown[0]!r}, which is no class; "
                f"{suggest(unknown[0], self.classes)}"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Label -> name, including background."""
        return (("background",) if self.background else ()) + self.classes

    def vocabulary(self, threshold: float = 0.0) -> Vocabulary:
        """The vocabulary of the classes.

        Args:
            threshold: confidence below which a pixel becomes background, if label 0 is background.
        """
        entries = tuple(ClassEntry(name, self.prompts.get(name, ())) for name in self.classes)
        policy = Background(self.background_words, threshold) if self.background else Background()
        return Vocabulary(entries, policy)


def _folder() -> resources.abc.Traversable:
    return resources.files("ovperc") / "text" / "vocabularies"


def list_class_names() -> tuple[str, ...]:
    """Names of all bundled class lists."""
    return tuple(sorted(entry.name.removesuffix(".json") for entry in _folder().iterdir()))


@cache
def _content(name: str) -> dict[str, Any]:
    path = _folder() / f"{name}.json"
    if not path.is_file():
        raise ValueError(f"unknown class list {name!r}; {suggest(name, list_class_names())}")
    return json.loads(path.read_text(encoding="utf-8"))


def list_variants(name: str) -> tuple[str, ...]:
    """Methods with their own prompts for a benchmark's classes."""
    return tuple(sorted(_content(name)["variants"]))


def load_class_names(name: str, variant: str | None = None) -> ClassNames:
    """Loads a bundled class list.

    Args:
        name: benchmark, such as ``"voc21"``.
        variant: method whose published prompts are used; ``None``, or a method without any, gives the
            plain names.

    Raises:
        ValueError: there is no such list.
    """
    content = _content(name)
    words, prompts = _variant(content, variant) if variant in content["variants"] else (None, {})
    merged = {**content.get("prompts", {}), **prompts}
    return ClassNames(
        name=name,
        classes=tuple(content["classes"]),
        background=content["background"],
        background_words=tuple(words or content.get("background_words", ())),
        prompts={key: tuple(value) for key, value in merged.items()},
        source=content["source"],
    )


def _variant(content: dict[str, Any], name: str) -> tuple[list[str] | None, dict[str, list[str]]]:
    """Background words and prompts of a variant, including those of the variant it extends."""
    own = content["variants"][name]
    words, prompts = _variant(content, own["extends"]) if "extends" in own else (None, {})
    return own.get("background_words", words), {**prompts, **own.get("prompts", {})}
