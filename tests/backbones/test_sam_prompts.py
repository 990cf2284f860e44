"""Batched prompts against segment-anything's own predictor, called prompt by prompt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from helpers.tiny_sam import tiny_sam
from ovperc.backbones.sam import SamBackbone
from ovperc.backbones.sam_prompts import Prompts, SamPrompter, decode_masks, embed_masks_by_height

SIZE = (70, 120)


@pytest.fixture(scope="module")
def prompter() -> SamPrompter:
    return SamPrompter(SamBackbone(tiny_sam()), max_prompts=2)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def draw_prompts(kind: str, grid: int) -> Prompts:
    generator = torch.Generator().manual_seed(1)
    size = torch.tensor([SIZE[1], SIZE[0]]).float()
    points = torch.rand(5, 2, 2, generator=generator) * size
    corners = torch.rand(5, 2, 2, generator=generator) * size
    boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    return Prompts(
        points=points if "point" in kind else None,
        labels=torch.tensor([[1.0, 0.0]] * 5) if "point" in kind else None,
        boxes=boxes if "box" in kind else None,
        masks=torch.randn(5, 1, grid, grid, generator=generator) if "mask" in kind else None,
    )


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("kind", ["point", "box", "point+box", "point+box+mask", "mask+box"])
def test_answers_are_the_predictors(prompter: SamPrompter, image: np.ndarray, kind: str, multimask: bool):
    predictor = SamPredictor(prompter.backbone.sam)
    predictor.set_image(image)
    prompts = draw_prompts(kind, prompter.mask_grid)
    embedded = prompter.embed(image)
    assert (embedded.embedding - predictor.features).abs().max() <= 1e-4 * predictor.features.abs().max()
    logits, quality = prompter.decode(embedded, prompts, multimask=multimask)
    upscaled = prompter.upscale(embedded, logits)
    for row in range(5):
        masks, iou, low = predictor.predict(
            point_coords=None if prompts.points is None else prompts.points[row].numpy(),
            point_labels=None if prompts.labels is None else prompts.labels[row].numpy(),
            box=None if prompts.boxes is None else prompts.boxes[row].numpy(),
            mask_input=None if prompts.masks is None else prompts.masks[row].numpy(),
            multimask_output=multimask,
            return_logits=True,
        )
        assert np.abs(logits[row].numpy() - low).max() <= 1e-3 * np.abs(low).max()
        assert np.abs(quality[row].numpy() - iou).max() <= 1e-3
        assert np.abs(upscaled[row].numpy() - masks).max() <= 1e-3 * np.abs(masks).max()


def test_prompts_of_several_images_in_one_call(prompter: SamPrompter):
    sam = prompter.backbone.sam
    embeddings = torch.randn(2, 64, 12, 12, generator=torch.Generator().manual_seed(3))
    prompts = draw_prompts("point+box", prompter.mask_grid)
    owners = torch.tensor([0, 1, 1, 0, 1])
    with torch.inference_mode():
        logits, quality = decode_masks(sam, embeddings, owners, prompts)
        for row, owner in enumerate(owners.tolist()):
            part = next(Prompts(*(p if p is None else p[row:] for p in vars(prompts).values())).split(1))
            alone, iou = decode_masks(sam, embeddings[owner : owner + 1], torch.zeros(1, dtype=torch.int64), part)
            assert torch.allclose(alone[0], logits[row], atol=1e-4)
            assert torch.allclose(iou[0], quality[row], atol=1e-4)


def test_prompts_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="needs points, boxes or masks"):
        Prompts()
    with pytest.raises(ValueError, match="come together"):
        Prompts(points=torch.zeros(1, 1, 2))
    with pytest.raises(ValueError, match="equally many"):
        Prompts(boxes=torch.zeros(2, 4), masks=torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="max_prompts"):
        SamPrompter(SamBackbone(tiny_sam()), 0)


def test_one_pixel_high_images_embed(prompter: SamPrompter):
    embedded = prompter.embed(np.zeros((1, 40, 3), np.uint8))
    assert embedded.input_hw == (2, 96)
    logits, _ = prompter.decode(embedded, Prompts(boxes=torch.tensor([[0.0, 0.0, 10.0, 0.0]])))
    assert prompter.upscale(embedded, logits).shape == (1, 1, 1, 40)


def test_parity_embeds_masks_as_the_released_code_does(prompter: SamPrompter):
    sam = prompter.backbone.sam
    side = prompter.mask_grid
    masks = torch.rand(3, 1, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        batched = embed_masks_by_height(sam, masks)
        for mask, found in zip(masks, batched, strict=True):
            assert torch.allclose(found, sam.prompt_encoder.mask_downscaling(mask), atol=1e-5)
        assert not torch.allclose(batched, sam.prompt_encoder.mask_downscaling(masks), atol=1e-2)
