"""Decomposition of a phrase into its words, each as a phrase."""

from __future__ import annotations

_ANYTHING = "object"


def phrase_parts(phrase: str) -> tuple[str, ...]:
    """Decomposition of a phrase into its words, each as a phrase.

    ``"striped red star"`` gives ``("striped object", "red object", "star")``, and ``"red object"`` itself. The last
    word is taken as the noun.
    """
    *adjectives, noun = phrase.split() or [phrase]
    parts = tuple(f"{word} {_ANYTHING}" for word in adjectives)
    return parts if parts and noun == _ANYTHING else (*parts, noun)
