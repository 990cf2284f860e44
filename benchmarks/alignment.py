"""Cases of region-text alignment: what mosaics cost on top of plain image-text contrast."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.case import Case, Measurement, Options
from ovperc.core.timing import paired_ratio

PICTURES = 29
SETTINGS: tuple[tuple[str, str, int, int], ...] = (
    ("ViT-B-16", "random", 224, 448),
    ("clip-mini", "clip-mini", 56, 112),
)
"""Architecture, weights, side of a picture and side of a mosaic, px."""


def mosaic_step(options: Options) -> Iterator[Measurement]:
    """Forward and backward pass of a CLIM step over a plain contrastive step.

    Once over plain contrast of as many whole pictures of the mosaics' size, with as many captions: the tower sees the
    same number of pixels, so what is left are tiling, regions and the larger table of pairs. And once over plain
    contrast of the same 29 pictures, each by itself.
    """
    for arch, weights, picture_px, mosaic_px in SETTINGS:
        task = _task(arch, weights, mosaic_px, options)
        texts = tuple(f"a photo of thing number {index}" for index in range(PICTURES))
        small, large = (_pictures(count, side) for count, side in ((PICTURES, picture_px), (3, mosaic_px)))
        mosaic = _mosaic_step(task, small, texts)
        for other, images, limit in (("same pixels", large, 1.15), ("same pictures", small, None)):
            ratio = paired_ratio(mosaic, _plain_step(task, images, texts), options.runs, device=options.device)
            setting = f"{arch}, {PICTURES} pictures in 3 mosaics of {mosaic_px} px, over plain contrast of the {other}"
            yield Measurement("mosaic-step", setting, ratio.ratio, "x", limit=limit, detail=str(ratio))


def _task(arch: str, weights: str, mosaic_px: int, options: Options):
    from ovperc.training.alignment import RegionAlignment
    from ovperc.training.alignment_objectives import MosaicContrast

    clip = {"arch": arch, "weights": weights}
    objective = MosaicContrast(mosaic_px, (2, 3, 4), singles=False)
    return RegionAlignment(clip, objective, trained_blocks=6).to(options.device).train()


def _pictures(count: int, side: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _mosaic_step(task, images: Tensor, texts: tuple[str, ...]) -> Callable[[], None]:
    from ovperc.data.region_text import RegionTextBatch

    def step() -> None:
        task.zero_grad(set_to_none=True)
        task(RegionTextBatch(images, texts))["loss_mosaic"].backward()

    return step


def _plain_step(task, images: Tensor, texts: tuple[str, ...]) -> Callable[[], None]:
    """Captions are dealt out to the images in turn, all of them true of nothing else."""
    from ovperc.training.losses.contrastive import masked_contrastive_loss

    owners = torch.arange(len(texts)) % len(images)
    true = owners[:, None] == torch.arange(len(images))

    def step() -> None:
        task.zero_grad(set_to_none=True)
        embedded = task.pooled_embeddings(task.normalized(images))
        words = task.text_embeddings(texts)
        place = embedded.device
        masked_contrastive_loss(embedded, words, owners.to(place), true.to(place), task.scale).backward()

    return step


CASES = (Case("mosaic-step", "CLIM's training step over plain image-text contrast", mosaic_step),)
