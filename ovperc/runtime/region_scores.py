"""Scores of regions and suppression without torch: the numpy counterpart of ``ovperc.tasks.detection``'s."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ovperc.core.text_bank import TextBank

_SMALLEST = 1e-12
POLICIES: tuple[str, ...] = ("fvlm", "fvit", "text", "vlm")
_BACKGROUNDS = ("learned", "zero", "none")


@dataclass(frozen=True)
class FusionSettings:
    """The fields of :class:`ovperc.text.region_scores.Fusion` that have a form without torch.

    Attributes:
        policy: one of ``POLICIES``.
        base, novel: weight of CLIP's scores for classes of the training, and for others.
        scale: inverse temperature of CLIP's scores.
        objectness: exponent of the objectness.

    Raises:
        ValueError: a value that is out of its range.
    """

    policy: str
    base: float
    novel: float
    scale: float
    objectness: float

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"the fusion policy must be one of {', '.join(POLICIES)}; got {self.policy!r}")
        if not (0 <= self.base <= 1 and 0 <= self.novel <= 1):
            raise ValueError(f"fusion weights must lie in [0, 1]; got {self.base} and {self.novel}")
        if not (0 < self.scale < math.inf and 0 <= self.objectness < math.inf):
            raise ValueError(f"the fusion needs a positive scale; got {self.scale}, objectness {self.objectness}")


@dataclass(frozen=True, eq=False)
class RegionClassifier:
    """The counterpart of :class:`ovperc.text.region_scores.TextClassifier`.

    Attributes:
        scale: inverse temperature.
        kind: of the background: ``learned``, ``zero`` or ``none``.
        background: ``(E,)`` unit embedding of a learned background.

    Raises:
        ValueError: a value that is out of its range.
    """

    scale: float
    kind: str
    background: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.kind not in _BACKGROUNDS or (self.kind == "learned") != (self.background is not None):
            raise ValueError(f"the background is one of {', '.join(_BACKGROUNDS)}, and learned has an embedding")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"the classifier needs a positive scale; got {self.scale}")
        if self.background is not None and (self.background.ndim != 1 or not np.isfinite(self.background).all()):
            raise ValueError("the background embedding must be one row of finite values")


def region_scores(
    regions: Mapping[str, np.ndarray],
    bank: TextBank[np.ndarray],
    is_base: Sequence[bool],
    fusion: FusionSettings,
    classifier: RegionClassifier,
) -> np.ndarray:
    """As :meth:`ovperc.tasks.detection.region_detector.RegionDetector.scores`, ``(R, C)`` float32.

    Args:
        regions: ``text``, ``vlm`` ``(R, E)`` and ``objectness`` ``(R,)``.
        bank: the words.
        is_base: for each name that is not background, whether training knew it.
        fusion: of the scores of both embeddings.
        classifier: of the detector's own embeddings.
    """
    text = _split(_text_logits(regions["text"], bank, classifier), bank)
    second = _split((_word_logits(regions["vlm"], bank, fusion.scale), _nothing(len(regions["vlm"]))), bank)
    (ours, background), (theirs, _) = _probabilities(*text), _probabilities(*second)
    if fusion.policy in ("text", "vlm"):
        scores = ours if fusion.policy == "text" else theirs
    else:
        weights = np.where(np.asarray(is_base, bool), fusion.base, fusion.novel).astype(np.float32)
        logs = [np.log(np.maximum(part, _SMALLEST)) for part in (ours, theirs)]
        scores = np.exp(logs[0] + weights * (logs[1] - logs[0]))
        if fusion.policy == "fvlm":
            scores = scores / np.maximum(scores.sum(axis=1) + background, _SMALLEST)[:, None]
    return (scores * regions["objectness"][:, None] ** fusion.objectness).astype(np.float32)


def _text_logits(
    embeddings: np.ndarray, bank: TextBank[np.ndarray], classifier: RegionClassifier
) -> tuple[np.ndarray, np.ndarray]:
    classes = _word_logits(embeddings, bank, classifier.scale)
    if classifier.background is not None:
        return classes, classifier.scale * (_unit(embeddings) @ classifier.background)
    return classes, np.zeros(len(classes), np.float32) if classifier.kind == "zero" else _nothing(len(classes))


def _word_logits(embeddings: np.ndarray, bank: TextBank[np.ndarray], scale: float) -> np.ndarray:
    """Best prompt of each label, ``(R, labels)``."""
    cosines = _unit(embeddings) @ bank.embeddings.T
    best = np.full((len(bank.names), len(embeddings)), -np.inf, np.float32)
    np.maximum.at(best, bank.owners, cosines.T)
    return scale * best.T


def _split(logits: tuple[np.ndarray, np.ndarray], bank: TextBank[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Moves the words of an explicit background, label 0, to the background column."""
    classes, background = logits
    if not bank.background.enabled:
        return logits
    return classes[:, 1:], np.logaddexp(background, classes[:, 0])


def _probabilities(classes: np.ndarray, background: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    joined = np.concatenate([classes, background[:, None]], axis=1)
    powers = np.exp(joined - joined.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    return shares[:, :-1], shares[:, -1]


def _nothing(count: int) -> np.ndarray:
    return np.full(count, -np.inf, np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _SMALLEST)


def suppress(
    boxes: np.ndarray, scores: np.ndarray, iou_threshold: float, max_detections: int, score_threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy suppression within each class; row and label of each survivor, best first.

    Args:
        boxes: ``(R, 4)``, shared by all classes.
        scores: ``(R, C)``.
        iou_threshold: a candidate goes if it overlaps a better one of its class by more than this.
        max_detections: most survivors.
        score_threshold: only scores above it are candidates.
    """
    flat = scores.ravel()
    candidates = np.flatnonzero(flat > score_threshold)
    candidates = candidates[np.argsort(-flat[candidates], kind="stable")]
    over = box_overlaps(boxes) > iou_threshold
    covered: dict[int, np.ndarray] = {}
    found: list[tuple[int, int]] = []
    for candidate in candidates.tolist():
        row, label = divmod(candidate, scores.shape[1])
        if label in covered and covered[label][row]:
            continue
        covered[label] = over[row] | covered.get(label, False)
        found.append((row, label))
        if len(found) == max_detections:
            break
    table = np.asarray(found, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def box_overlaps(boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of all pairs, ``(R, R)``; 0 where both boxes are empty."""
    low, high = np.maximum(boxes[:, None, :2], boxes[:, :2]), np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    inside = np.clip(high - low, 0, None).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return inside / np.maximum(areas[:, None] + areas - inside, _SMALLEST)
