"""A three-class test set of odd sizes, and a segmenter without a tower, for tests of evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ovperc.core.structures import SegmentationMap, TextBank

CLASSES = ("dark", "middle", "bright")


@dataclass(frozen=True)
class Item:
    """One labelled image."""

    image: np.ndarray
    labels: np.ndarray
    name: str


class SmallImages:
    """Images whose red channel tells the class, mostly; item ``i`` depends on ``i`` only."""

    classes = CLASSES
    groups = {"ends": (0, 2)}  # noqa: RUF012

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        rng = np.random.default_rng(index)
        size = (9 + index, 14)
        labels = rng.integers(0, 2 + (index + 1) % 2, size).astype(np.uint8)  # every second one lacks a class
        red = labels * 85 + rng.integers(0, 120, size)
        image = np.stack([np.minimum(red, 255), rng.integers(0, 256, size), np.zeros(size)], axis=-1).astype(np.uint8)
        labels[0, :3] = 255
        return Item(image, labels, f"small-{index}")


class ThresholdSegmenter:
    """Labels by the red channel; stands for ``DenseSegmenter``."""

    def encode(self, image: np.ndarray) -> np.ndarray:
        return image

    def segment(self, encoded: np.ndarray, bank: TextBank) -> SegmentationMap:
        wanted = np.minimum(encoded[..., 0] // 85, 2)
        # Of a bank with fewer words: the nearest class that it has.
        known = [CLASSES.index(name) for name in bank.names]
        nearest = np.array([np.abs(np.array(known) - label).argmin() for label in range(3)])
        confidence = 1 - torch.from_numpy(encoded[..., 1].astype(np.float32)) / 512
        return SegmentationMap(torch.from_numpy(nearest[wanted].astype(np.int32)), confidence)


def small_bank() -> TextBank:
    """Three words."""
    return TextBank(torch.eye(3), torch.arange(3), CLASSES, "none")
