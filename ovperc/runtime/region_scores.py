"""Scores of regions and suppression without torch: the numpy counterpart of ``ovperc.tasks.detection``'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ovperc.runtime.word_bank import WordBank

_SMALLEST = 1e-12


def region_scores(
    regions: Mapping[str, np.ndarray],
    bank: WordBank,
    is_base: Sequence[bool],
    fusion: Mapping[str, Any],
    classifier: Mapping[str, Any],
) -> np.ndarray:
    """As :meth:`ovperc.tasks.detection.region_detector.RegionDetector.scores`, ``(R, C)`` float32.

    Args:
        regions: ``text``, ``vlm`` ``(R, E)`` and ``objectness`` ``(R,)``.
        bank: the words.
        is_base: for each name that is not background, whether training knew it.
        fusion: fields of :class:`ovperc.text.region_scores.Fusion`.
        classifier: ``scale``, ``kind`` and, where it is learned, the unit row ``background``.
    """
    text = _split(_text_logits(regions["text"], bank, classifier), bank)
    second = _split((_word_logits(regions["vlm"], bank, fusion["scale"]), _nothing(len(regions["vlm"]))), bank)
    (ours, background), (theirs, _) = _probabilities(*text), _probabilities(*second)
    policy = fusion["policy"]
    if policy in ("text", "vlm"):
        scores = ours if policy == "text" else theirs
    else:
        weights = np.where(np.asarray(is_base, bool), fusion["base"], fusion["novel"]).astype(np.float32)
        logs = [np.log(np.maximum(part, _SMALLEST)) for part in (ours, theirs)]
        scores = np.exp(logs[0] + weights * (logs[1] - logs[0]))
        if policy == "fvlm":
            scores = scores / np.maximum(scores.sum(axis=1) + background, _SMALLEST)[:, None]
    return (scores * regions["objectness"][:, None] ** fusion["objectness"]).astype(np.float32)


def _text_logits(
    embeddings: np.ndarray, bank: WordBank, classifier: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    classes = _word_logits(embeddings, bank, classifier["scale"])
    if classifier["kind"] == "learned":
        return classes, classifier["scale"] * (_unit(embeddings) @ classifier["background"])
    return classes, np.zeros(len(classes), np.float32) if classifier["kind"] == "zero" else _nothing(len(classes))


def _word_logits(embeddings: np.ndarray, bank: WordBank, scale: float) -> np.ndarray:
    """Best prompt of each label, ``(R, labels)``."""
    cosines = _unit(embeddings) @ bank.embeddings.T
    best = np.full((len(bank.names), len(embeddings)), -np.inf, np.float32)
    np.maximum.at(best, bank.owners, cosines.T)
    return scale * best.T


def _split(logits: tuple[np.ndarray, np.ndarray], bank: WordBank) -> tuple[np.ndarray, np.ndarray]:
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
    boxes: np.ndarray, scores: np.ndarray, iou_threshold: float, keep: int, score_threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy suppression within each class, the best ``keep`` of all; row and label of each survivor, best first.

    Args:
        boxes: ``(R, 4)``, shared by all classes.
        scores: ``(R, C)``.
        iou_threshold: a candidate goes if it overlaps a better one of its class by more than this.
        keep: most survivors.
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
        if len(found) == keep:
            break
    table = np.asarray(found, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def box_overlaps(boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of all pairs, ``(R, R)``; 0 where both boxes are empty."""
    low, high = np.maximum(boxes[:, None, :2], boxes[:, :2]), np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    inside = np.clip(high - low, 0, None).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return inside / np.maximum(areas[:, None] + areas - inside, _SMALLEST)
