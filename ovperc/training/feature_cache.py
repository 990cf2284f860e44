"""Features of frozen towers, computed once for all epochs of training a head."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ovperc.backbones.base import POOLED, DenseBackbone
from ovperc.backbones.loading import ClipModel, load_clip
from ovperc.core.atomic import atomic_write
from ovperc.core.structures import Tap
from ovperc.data.benchmarks import get_benchmark
from ovperc.registry import DATASETS
from ovperc.tiling.preprocess import choose_resize, resize_mask
from ovperc.tiling.square import SquareTiler
from ovperc.weights.reading import CheckpointError

_PASS = 8


@dataclass(frozen=True)
class FeatureBatch:
    """What a head is trained on.

    Attributes:
        patches: one ``(B, n, D)`` float16 per tap.
        pooled: ``(B, E)`` float32, not normalised.
        masks: ``(B, S, S)`` bool at the size of the tower's input.
        anomalous: ``(B,)`` bool.
        words: what each image shows.
        grid_hw: patch grid.
    """

    patches: tuple[Tensor, ...]
    pooled: Tensor
    masks: Tensor
    anomalous: Tensor
    words: tuple[str, ...]
    grid_hw: tuple[int, int]


@dataclass(frozen=True)
class TrainingTaps:
    """What is kept of a tower's pass.

    Attributes:
        patches: taps of patch tokens.
        pooled: tap of the image embedding.
    """

    patches: tuple[Tap, ...]
    pooled: Tap = POOLED


@DATASETS.register_module()
class AnomalyFeatures(Dataset):
    """Batches of cached features; item ``i`` is the ``i``-th batch of an endless sequence of shuffled epochs.

    Args:
        images: ``dict(set="visa", root=...)`` for the test images of a set of files, ``dict(type=NAME, ...)`` for a
            registered data set, or the set (``AnomalyImages``). Only images with a mask count.
        clip: ``dict(arch=..., weights=..., pos_embed=...)`` for ``load_clip``, or a loaded model.
        taps: patches that are kept, such as ``["-1.dual:6"]``; those of the dual path are projected into the joint
            space and of unit length, others are kept as they are.
        size_px: side of the square that images are squashed to.
        pooled: tap of the image embedding, ``-1.pooled`` or ``-1.pooled_bare``.
        batch_size: images of a batch.
        length: number of batches; None for one epoch.
        seed: of the order.
        resize: rule of the image's resize, as for methods.
        cache_file: ``.npz`` that holds the features from run to run; None keeps them in memory.

    Raises:
        ValueError: no image has a mask, or a mask has another size than its image.
        CheckpointError: ``cache_file`` belongs to other images, another tower or other taps.
    """

    def __init__(
        self,
        images: Any,
        clip: dict[str, Any] | ClipModel,
        taps: Sequence[str],
        size_px: int,
        pooled: str = "-1.pooled",
        batch_size: int = 8,
        length: int | None = None,
        seed: int = 0,
        resize: str = "bicubic",
        cache_file: str | Path | None = None,
    ) -> None:
        images = _open(images) if isinstance(images, Mapping) else images
        clip = load_clip(**clip) if isinstance(clip, dict) else clip
        wanted = TrainingTaps(tuple(map(Tap.parse, taps)), Tap.parse(pooled))
        self.batch_size, self.seed = batch_size, seed
        table = _cached(images, clip, wanted, size_px, resize, cache_file)
        self.patches = [torch.from_numpy(table[f"patches_{tap}"]) for tap in range(len(taps))]
        self.pooled, self.masks = torch.from_numpy(table["pooled"]), torch.from_numpy(table["masks"])
        self.grid_hw = tuple(int(side) for side in table["grid_hw"])
        self.words = tuple(str(word) for word in table["words"])
        self.length = -(-len(self.words) // batch_size) if length is None else length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> FeatureBatch:
        rows = torch.tensor(self._rows(int(index)))
        masks = self.masks[rows]
        return FeatureBatch(
            tuple(part[rows] for part in self.patches),
            self.pooled[rows],
            masks,
            masks.flatten(1).any(dim=1),
            tuple(self.words[row] for row in rows.tolist()),
            self.grid_hw,
        )

    def _rows(self, index: int) -> list[int]:
        """Images of a batch; an epoch that ends inside it goes over into the next."""
        count = len(self.words)
        rows = []
        for place in range(index * self.batch_size, (index + 1) * self.batch_size):
            epoch, offset = divmod(place, count)
            rows.append(int(np.random.default_rng((self.seed, epoch)).permutation(count)[offset]))
        return rows


def _open(images: Mapping[str, Any]) -> Any:
    if "set" not in images:
        return DATASETS.build(dict(images))
    settings = dict(images)
    return get_benchmark(settings.pop("set")).images(**settings)


def encode_for_training(backbone: DenseBackbone, images: Tensor, taps: TrainingTaps) -> tuple[list[Tensor], Tensor]:
    """Patches of every tap and the image embedding, as a head's training reads them.

    Returns:
        ``(B, n, D)`` per tap (those of the dual path projected and of unit length), and ``(B, E)``.
    """
    features = backbone.forward_dense(images, [*taps.patches, taps.pooled])
    streams = [features.patches(tap) for tap in taps.patches]
    patches = [
        torch.nn.functional.normalize(backbone.project(stream).float(), dim=-1) if tap.point == "dual" else stream
        for tap, stream in zip(taps.patches, streams, strict=True)
    ]
    return patches, features[taps.pooled]


def _cached(
    images: Any, clip: ClipModel, taps: TrainingTaps, size_px: int, resize: str, cache_file: str | Path | None
) -> Mapping[str, np.ndarray]:
    if cache_file is None:
        return _encode_all(images, clip, taps, size_px, resize)
    key = _key(images, clip.backbone, taps, size_px, resize)
    path = Path(cache_file).expanduser()
    if path.suffix != ".npz":
        raise ValueError(f"cache_file must end in .npz; got {str(path)!r}")
    if path.is_file():
        table = np.load(path, allow_pickle=False)
        if str(table["key"]) != key:
            raise CheckpointError(f"the features in {path} are of other images, weights or settings; delete the file")
        return table
    table = _encode_all(images, clip, taps, size_px, resize)
    with atomic_write(path) as (temporary,), temporary.open("wb") as file:
        np.savez(file, key=key, **table)
    return table


def _key(images: Any, backbone: DenseBackbone, taps: TrainingTaps, size_px: int, resize: str) -> str:
    digest = hashlib.blake2b(
        json.dumps([[str(tap) for tap in (*taps.patches, taps.pooled)], size_px, resize]).encode(), digest_size=16
    )
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
    for index, record in enumerate(images.records):
        digest.update(record.name.encode())
        if index % max(1, len(images) // 8) == 0:  # a sample of the pixels tells sets of equal names apart
            digest.update(images[index].image.tobytes())
    return digest.hexdigest()


def _encode_all(images: Any, clip: ClipModel, taps: TrainingTaps, size_px: int, resize: str) -> dict[str, np.ndarray]:
    backbone, tiler = clip.backbone, SquareTiler(size_px)
    rule = choose_resize(resize, clip.preprocess, tiler)
    side = tiler.resized_hw((size_px, size_px), backbone.stride_px)
    parts: list[list[np.ndarray]] = [[] for _ in range(len(taps.patches) + 1)]
    masks, words, pixels = [], [], []
    for index in range(len(images)):
        sample = images[index]
        if sample.mask is None:
            continue
        if sample.mask.shape != sample.image.shape[:2]:
            raise ValueError(
                f"{sample.record.name}: the mask is {sample.mask.shape}, its image {sample.image.shape[:2]}; they must "
                "have one size"
            )
        pixels.append(clip.preprocess.apply(sample.image, side, rule, backbone.device))
        masks.append(resize_mask(sample.mask, side))
        words.append(images.words[sample.record.category])
        if len(pixels) == _PASS or index == len(images) - 1:
            _append(parts, backbone, pixels, taps)
            pixels = []
    if pixels:
        _append(parts, backbone, pixels, taps)
    if not masks:
        raise ValueError("no image of the set has a mask; training needs some")
    arrays = [np.concatenate(part) for part in parts]
    grid_hw = (side[0] // backbone.stride_px, side[1] // backbone.stride_px)
    table = {f"patches_{tap}": array for tap, array in enumerate(arrays[:-1])}
    return {
        **table,
        "pooled": arrays[-1],
        "masks": np.stack(masks),
        "words": np.array(words),
        "grid_hw": np.array(grid_hw),
    }


@torch.no_grad()
def _append(
    parts: Sequence[list[np.ndarray]], backbone: DenseBackbone, pixels: Sequence[Tensor], taps: TrainingTaps
) -> None:
    patches, pooled = encode_for_training(backbone, torch.cat(list(pixels)), taps)
    for part, stream in zip(parts, patches, strict=False):
        part.append(stream.to(torch.float16).cpu().numpy())
    parts[-1].append(pooled.float().cpu().numpy())
