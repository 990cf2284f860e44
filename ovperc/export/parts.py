"""Which parts of a method have an exported form: graph builders by the class of the part, one table per seam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

B = TypeVar("B")


class ExportError(ValueError):
    """Something that has no exported form; the message says what does."""


class GraphBuilders(Generic[B]):
    """Graph builders of one seam. A part is exportable once a builder is registered for its class.

    Only the class itself counts: a subclass may compute something else.

    Args:
        seam: what the parts are called, such as ``"logit rule"``.
        advice: what a user can do about a part without a builder.
    """

    def __init__(self, seam: str, advice: str) -> None:
        self._seam = seam
        self._advice = advice
        self._builders: dict[type, B] = {}

    def register(self, *part_classes: type) -> Callable[[B], B]:
        """Decorates the builder of some classes of parts."""

        def decorate(builder: B) -> B:
            self._builders.update(dict.fromkeys(part_classes, builder))
            return builder

        return decorate

    def get(self, part: object) -> B | None:
        """The builder of a part, if there is one."""
        return self._builders.get(type(part))

    def find(self, part: object) -> B:
        """The builder of a part.

        Raises:
            ExportError: there is none; naming the part and what can be done.
        """
        builder = self.get(part)
        if builder is None:
            names = ", ".join(sorted(known.__name__ for known in self._builders))
            exported = f" (exported: {names})" if names else ""
            raise ExportError(f"the {self._seam} {type(part).__name__} has no exported form{exported}; {self._advice}")
        return builder
