"""Vocabularies: classes, synonyms and the background policy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Union

from ovperc.core.background import Background
from ovperc.text.vocabulary_file import VocabularyError, is_text_file, is_vocabulary_path, read_vocabulary_file

Words = Union[str, Path, Sequence[Any], Mapping[str, Any], "Vocabulary"]
BackgroundLike = float | str | Sequence[str] | Mapping[str, Any] | Background | None

BACKGROUND_NAME = "background"
_HOW_TO = "pass a list ['red star', 'grass'], a string 'red star, grass|lawn', a dict {'grass': ['lawn']} or a file"


def _key(text: str) -> str:
    """Comparison key of a word, ignoring case and repeated spaces."""
    return " ".join(text.casefold().split())


def _clean(text: Any, what: str) -> str:
    """Normalises the spaces of a word, and rejects invalid ones."""
    if not isinstance(text, str):
        raise TypeError(
            f"{what} must be a string; got {text!r} of type {type(text).__name__} "
            "(in YAML, quote words such as no, on, yes and numbers)"
        )
    cleaned = " ".join(text.split())
    if not cleaned:
        raise ValueError(f"{what} is empty; remove it or write a word")
    return cleaned


def _unique(words: Sequence[str]) -> tuple[str, ...]:
    """The words in order, without duplicates."""
    return tuple({_key(word): word for word in reversed(words)}.values())[::-1]


@dataclass(frozen=True)
class ClassEntry:
    """A class of a vocabulary.

    Attributes:
        name: name in results.
        prompts: the prompts of the class; its score is that of the best one. The name is only a prompt
            if listed; empty for ``(name,)``.
    """

    name: str
    prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        name = _clean(self.name, "a class name")
        if isinstance(self.prompts, str):
            raise TypeError(f"prompts of class {name!r} must be a tuple of strings; got {self.prompts!r}")
        prompts = [_clean(prompt, f"a prompt of class {name!r}") for prompt in self.prompts]
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "prompts", _unique(prompts or [name]))


@dataclass(frozen=True)
class Vocabulary:
    """The classes to predict.

    With ``background.enabled`` label 0 is ``"background"`` and owns the background words, if any; the
    classes follow in order. Without a background the classes are labels 0, 1, ..., and every pixel is
    assigned to one of them: a single class without background therefore covers the full image.

    Attributes:
        classes: at least one, no two with the same name or a common prompt (case and spaces ignored).
        background: the policy for pixels that belong to no class.
    """

    classes: tuple[ClassEntry, ...]
    background: Background = field(default_factory=Background)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if not self.classes:
            raise ValueError(f"the words are empty: name at least one class; {_HOW_TO}")
        _refuse_equal_names(self.classes)
        if self.background.enabled and any(_key(entry.name) == BACKGROUND_NAME for entry in self.classes):
            raise ValueError(
                f"a class named {BACKGROUND_NAME!r} and a background policy are both given; "
                "keep the class and drop the policy, or the other way round"
            )
        _refuse_shared_prompts(self.classes, self.background)

    @classmethod
    def parse(cls, words: Words, background: BackgroundLike = None, separator: str | None = None) -> Vocabulary:
        """Parses words in any supported form.

        Args:
            words: a list (``["red star", "grass|lawn"]``; an item may also be a list, name first, or a
                :class:`ClassEntry`); one string with commas (``"red star, grass|lawn"``); a dict from a
                name to its synonyms, used in addition to the name (``{"grass": ["lawn"]}``); a
                ``Path``, or a string that ends in ``.json .yaml .yml .txt``, of a file that holds a list
                or dict, or one class per line; or a vocabulary, which passes through.
            background: see :func:`parse_background`. ``None`` keeps the policy of a given vocabulary.
            separator: what separates synonyms. By default ``|``, and in text files ``;`` too. Commas in
                text files are part of a name unless they are named here.

        Raises:
            TypeError: a word is not a string, or ``words`` has an unsupported type.
            ValueError: there are no classes, or a word is empty or repeated.
            VocabularyError: a file cannot be read; a ``ValueError`` that names file and line.
        """
        if separator is not None and not separator.strip():
            raise ValueError(f"separator must be a visible character such as '|' or ','; got {separator!r}")
        if isinstance(words, Vocabulary):
            return words if background is None else replace(words, background=parse_background(background))
        return cls(_parse_entries(words, separator), parse_background(background))

    @property
    def names(self) -> tuple[str, ...]:
        """Label -> name, background included."""
        head = (BACKGROUND_NAME,) if self.background.enabled else ()
        return head + tuple(entry.name for entry in self.classes)

    @property
    def prompts(self) -> tuple[str, ...]:
        """All prompts ``(Q,)`` in label order."""
        return self.background.words + tuple(prompt for entry in self.classes for prompt in entry.prompts)

    @property
    def owners(self) -> tuple[int, ...]:
        """Label of each of :attr:`prompts`, ``(Q,)``, non-decreasing."""
        first = int(self.background.enabled)
        own = [label for label, entry in enumerate(self.classes, first) for _ in entry.prompts]
        return (0,) * len(self.background.words) + tuple(own)

    def __len__(self) -> int:
        """Number of classes, without background."""
        return len(self.classes)


def parse_background(value: BackgroundLike) -> Background:
    """Parses a background policy.

    Args:
        value: ``None`` or ``"none"``: no background. A number (or its text): pixels whose confidence is
            below it. Words, as a list or a string with commas: an explicit background class; a number
            among the words is the threshold (``"0.3, sky, wall"``). A dict with ``words`` and
            ``threshold``, or a :class:`Background`.

    Raises:
        TypeError: a value of another type.
        ValueError: a threshold outside ``[0, 1]``, more than one threshold, or an empty word.
    """
    if isinstance(value, Background):
        return Background(_unique([_clean(word, "a background word") for word in value.words]), value.threshold)
    if value is None:
        return Background()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Background(threshold=float(value))
    if isinstance(value, Mapping):
        unknown = sorted(set(value) - {"words", "threshold"})
        if unknown:
            raise ValueError(f"a background dict has the keys 'words' and 'threshold'; got {unknown}")
        inner = parse_background(value.get("words"))
        return Background(inner.words, float(value.get("threshold") or inner.threshold))
    if isinstance(value, str):
        if _key(value) == "none":
            return Background()
        value = re.split(r"[,|]", value)
    if not isinstance(value, Sequence):
        raise TypeError(
            f"background must be None, a threshold, words or a Background; got {value!r} of {type(value).__name__}"
        )
    return _background_of_items(value)


def _background_of_items(items: Sequence[Any]) -> Background:
    """Words, and at most one threshold among them."""
    words, thresholds = [], []
    for item in items:
        number = _number(item)
        if number is None:
            words.append(_clean(item, "a background word"))
        else:
            thresholds.append(number)
    if len(thresholds) > 1:
        raise ValueError(f"a background has one threshold; got {thresholds}")
    return Background(_unique(words), thresholds[0] if thresholds else 0.0)


def _number(item: Any) -> float | None:
    try:
        number = float(item)
    except (TypeError, ValueError):
        return None
    # "nan" and "inf" are words, not thresholds.
    return number if math.isfinite(number) and not isinstance(item, bool) else None


def _parse_entries(words: Any, separator: str | None) -> tuple[ClassEntry, ...]:
    if isinstance(words, Path) or (isinstance(words, str) and is_vocabulary_path(words)):
        return _entries_of_file(Path(words), separator)
    if isinstance(words, str):
        words = _split_commas(words, separator)
    if isinstance(words, Mapping):
        return tuple(_entry_of_pair(name, synonyms, separator) for name, synonyms in words.items())
    if isinstance(words, (list, tuple)):
        return tuple(_entry_of_item(item, separator or "|") for item in words)
    raise TypeError(f"words of type {type(words).__name__} are not understood; {_HOW_TO}")


def _entries_of_file(path: Path, separator: str | None) -> tuple[ClassEntry, ...]:
    lines = is_text_file(path)
    entries = []
    for found in read_vocabulary_file(path):
        try:
            if isinstance(found.words, tuple):
                entries.append(_entry_of_pair(*found.words, separator))
            else:
                by_default = r"[;|]" if lines else "|"
                entries.append(_entry_of_item(found.words, separator or by_default, lines and separator is None))
        except (TypeError, ValueError) as error:
            raise VocabularyError(f"{str(path)!r}, {found.where}: {error}") from error
    return tuple(entries)


def _split_commas(text: str, separator: str | None) -> list[str]:
    if separator is not None and "," in separator:
        raise ValueError("in one string commas separate classes; give a list or a file to split synonyms by commas")
    if ";" in text and separator != ";":
        raise ValueError(f"in one string ',' separates classes and '|' synonyms; got ';' in {text!r}")
    if not text.strip():
        raise ValueError(f"the words are empty: name at least one class; {_HOW_TO}")
    return re.split(r"[,\n]", text.strip().strip(","))


def _entry_of_item(item: Any, separator: str, is_pattern: bool = False) -> ClassEntry:
    """A class from ``"name|synonym"``, from ``["name", "synonym"]`` or as it is."""
    if isinstance(item, ClassEntry):
        return item
    if isinstance(item, str):
        pattern = separator if is_pattern else re.escape(separator.strip())
        # A separator at the end of a line, as in "sky;", names no further synonym.
        words = [word for word in re.split(pattern, item) if word.strip()]
        return ClassEntry(words[0] if words else "", tuple(words))
    if isinstance(item, (list, tuple)) and item:
        return ClassEntry(item[0], tuple(item))
    raise TypeError(f"a class must be a string 'name|synonym' or a list of strings, name first; got {item!r}")


def _entry_of_pair(name: Any, synonyms: Any, separator: str | None) -> ClassEntry:
    """A class from ``name: synonyms``."""
    name = _clean(name, "a class name")
    if synonyms is None:
        synonyms = ()
    if isinstance(synonyms, str):
        synonyms = [word for word in synonyms.split((separator or "|").strip()) if word.strip()]
    if not isinstance(synonyms, (list, tuple)):
        raise TypeError(f"synonyms of class {name!r} must be a list of strings; got {synonyms!r}")
    return ClassEntry(name, (name, *synonyms))


def _refuse_equal_names(classes: Sequence[ClassEntry]) -> None:
    seen: dict[str, int] = {}
    for index, entry in enumerate(classes):
        first = seen.setdefault(_key(entry.name), index)
        if first != index:
            raise ValueError(
                f"class {index + 1} {entry.name!r} repeats class {first + 1} {classes[first].name!r} "
                "(case and spaces do not count); remove or rename one"
            )


def _refuse_shared_prompts(classes: Sequence[ClassEntry], background: Background) -> None:
    """Rejects prompts shared by two classes, whose scores would always tie."""
    owners = {_key(word): BACKGROUND_NAME for word in background.words}
    for entry in classes:
        for prompt in entry.prompts:
            owner = owners.setdefault(_key(prompt), entry.name)
            if owner != entry.name:
                raise ValueError(
                    f"the prompt {prompt!r} belongs to both {owner!r} and {entry.name!r}; keep it in one of them"
                )
