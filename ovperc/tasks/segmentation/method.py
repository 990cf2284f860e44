"""Methods of segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ovperc.tasks.method import Method, scaled_tiler


@dataclass(frozen=True, kw_only=True)
class SegMethod(Method):
    """One method of segmentation.

    Attributes:
        readout: ``dict(type=NAME, ...)`` of a readout, its affinity inside.
        classifier: keywords of the streaming classifier.
        logit_rule: ``dict(type=NAME, ...)`` or None.
        refiner: ``dict(type=NAME, ...)`` or None.
        guide: second tower, ``dict(type=NAME, weights=...)`` or None.
        splice: merge tiles as features before they are classified: ``dict()``, or ``dict(aggregator=dict(type=NAME,
            ...))`` for one more averaging over the whole image; None merges scores.
        preprocess: replaces fields of the tower's own preprocessing (``mean``, ``std``); empty in most methods.
        native_px: image side of the towers that the tiler's sizes are written for; :meth:`tiler_on` shrinks them for
            towers trained on smaller images.
    """

    parts: ClassVar[tuple[str, ...]] = ("readout", "tiler")
    optional_parts: ClassVar[tuple[str, ...]] = ("logit_rule", "refiner", "guide")
    settings: ClassVar[tuple[str, ...]] = ("classifier", "preprocess")

    readout: Mapping[str, Any]
    classifier: Mapping[str, Any] = field(default_factory=dict)
    logit_rule: Mapping[str, Any] | None = None
    refiner: Mapping[str, Any] | None = None
    guide: Mapping[str, Any] | None = None
    splice: Mapping[str, Any] | None = None
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    native_px: int = 224

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.splice is not None and not isinstance(self.splice, Mapping):
            raise ValueError(f"method {self.name!r}: splice must be a dict or None; got {self.splice!r}")
        if not isinstance(self.native_px, int) or self.native_px < 1:
            raise ValueError(f"method {self.name!r}: native_px must be a number of pixels; got {self.native_px!r}")

    def tiler_on(self, native_px: int, patch_px: int) -> dict[str, Any]:
        """The tiler's settings on a tower; see :func:`ovperc.tasks.method.scaled_tiler`.

        Sizes hold as they are for towers trained at ``self.native_px`` and more; sizes written for a smaller tower are
        kept by ``native_px=112``.

        Args:
            native_px: image side that the tower was trained at.
            patch_px: its stride.
        """
        return scaled_tiler(self.tiler, self.native_px, native_px, patch_px)
