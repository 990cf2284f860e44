"""SAM's redrawing of a coarse answer: regions, prompts, acceptance and fallback, against steps written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from segment_anything import SamPredictor

from helpers.tiny_models import EMBED_DIM, tiny_clip
from helpers.tiny_sam import tiny_sam
from ovperc.backbones.sam import SamBackbone
from ovperc.backbones.sam_prompts import SamPrompter
from ovperc.core.structures import TextBank
from ovperc.refine.sam_prompt import SamPromptRefiner, find_regions
from ovperc.tasks.methods import load_method
from ovperc.tasks.segmentation.build import build_segmenter

SIZE = (64, 80)


def coarse() -> tuple[torch.Tensor, torch.Tensor]:
    """Two blobs of class 1, one of class 2, on class 0; ``(H, W)`` and ``(3, H, W)``."""
    labels = torch.zeros(SIZE, dtype=torch.int32)
    labels[8:28, 8:30] = 1
    labels[40:60, 10:20] = 1
    labels[10:50, 50:70] = 2
    noise = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    scores = 0.1 + 0.2 * noise
    scores.scatter_(0, labels.long()[None], 0.6 + 0.3 * noise[:1])
    return labels, scores / scores.sum(0)


def refiner(**settings) -> SamPromptRefiner:
    return SamPromptRefiner(backbone=SamBackbone(tiny_sam()), **{"min_area": 500, "iou_threshold": -99.0, **settings})


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def halved(labels: torch.Tensor, scores: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    small = F.interpolate(scores[None], (32, 40), mode="bilinear")[0].numpy()
    return F.interpolate(labels[None, None].float(), (32, 40), mode="nearest")[0, 0].int().numpy(), small


def test_regions_are_components_with_box_point_and_area():
    labels, scores = halved(*coarse())
    regions = find_regions(labels, scores, 0.2, 10)
    assert [region.label for region in regions] == [0, 1, 1, 2]
    assert [region.box for region in regions[1:]] == [(4, 4, 14, 13), (5, 20, 9, 29), (25, 5, 34, 24)]
    for region in regions:
        x, y = region.point
        assert region.mask[y, x]
        assert scores[region.label, y, x] == scores[region.label][region.mask].max()
    assert len(find_regions(labels, scores, 0.2, 60)) == 3  # the small blob of 5 x 10 is dropped
    assert find_regions(labels, scores, 0.99, 1) == []
    touching = np.zeros((4, 4), np.int32)
    touching[0, 0] = touching[1, 1] = 1
    assert len(find_regions(touching, np.stack([1 - touching, touching]).astype(float), 0.5, 1)) == 2


def test_unsure_pixels_belong_to_no_region():
    labels = np.zeros((4, 4), np.int32)
    scores = np.full((1, 4, 4), 0.9)
    scores[0, :, 2:] = 0.1
    assert find_regions(labels, scores, 0.2, 1)[0].box == (0, 0, 1, 3)
    assert find_regions(labels, scores, 0.0, 1)[0].box == (0, 0, 3, 3)


@torch.inference_mode()
def plain_redraw(threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Region by region through segment-anything's predictor."""
    labels, scores = coarse()
    marks, small = halved(labels, scores)
    predictor = SamPredictor(tiny_sam())
    predictor.set_image(image())
    drawn = torch.zeros_like(scores)
    rejected = []
    for region in find_regions(marks, small, 0.2, 7):
        rough = F.interpolate(torch.from_numpy(small[region.label])[None, None], (38, 48), mode="bilinear")[0]
        rough = torch.where(rough > 0.2, 0.005 * rough, 0.0)
        masks, iou, _ = predictor.predict(
            point_coords=np.array([region.point], np.float32) * 2,
            point_labels=np.array([1]),
            box=np.array(region.box, np.float32) * 2,
            mask_input=F.pad(rough, (0, 0, 0, 10)).numpy(),
            multimask_output=False,
            return_logits=True,
        )
        if iou[0] <= threshold:
            rejected.append(region)
            continue
        logits = torch.from_numpy(masks[0])
        chance = logits.sigmoid() * scores[region.label] * (logits > 0)
        drawn[region.label] = torch.maximum(drawn[region.label], chance)
    found = drawn.sum(0) > 0
    answer = torch.where(found, drawn.argmax(0).int(), labels)
    for region in rejected:
        kept = torch.from_numpy(region.mask).repeat_interleave(2, 0).repeat_interleave(2, 1)
        drawn[region.label][kept] = torch.maximum(drawn[region.label], scores[region.label])[kept]
    return answer, drawn


def test_redrawing_is_the_predictors_region_by_region():
    part = refiner()
    seen = part.embed(image())
    _, quality = part.prompter.decode(
        seen,
        part._prompts(seen, find_regions(*halved(*coarse()), 0.2, 4), torch.from_numpy(halved(*coarse())[1]), (32, 40)),
    )
    ranked = quality[:, 0].sort().values
    for threshold in (-99.0, float(ranked[1:3].mean())):  # between two regions, out of reach of rounding
        result = refiner(iou_threshold=threshold).redraw(seen, *coarse())
        answer, drawn = plain_redraw(threshold)
        assert result.regions == 4
        assert (result.labels == answer).float().mean() > 0.999
        assert torch.allclose(result.scores, drawn, atol=1e-3)


def test_nothing_trusted_leaves_all_as_it_was():
    labels, scores = coarse()
    part = refiner(iou_threshold=1e6)
    result = part.redraw(part.embed(image()), labels, scores)
    assert result.regions == 4
    assert result.accepted == 0
    assert torch.equal(result.labels, labels)
    assert torch.equal(result.scores, scores)
    unsure = part.redraw(part.embed(image()), labels, scores * 0.1)
    assert (unsure.regions, unsure.accepted) == (0, 0)


@pytest.mark.parametrize("prompts", [{"use_mask": False}, {"use_box": False}, {"use_point": False, "use_mask": False}])
def test_any_choice_of_prompts_runs(prompts: dict):
    part = refiner(**prompts)
    assert part.redraw(part.embed(image()), *coarse()).accepted == 4


@pytest.mark.parametrize("name", ["maskclip", "clip_surgery", "maskclip_ks_pd"])
def test_it_follows_any_method_and_says_what_it_did(name: str):
    clip = tiny_clip("vit", pos_embed=load_method(name).pos_embed)
    bank = TextBank(torch.eye(EMBED_DIM)[:4], torch.arange(4), tuple("abcd"), clip.fingerprint)
    plain = build_segmenter(load_method(name), clip)
    before = plain.segment(plain.encode(image()), bank)
    assert before.notes == {}
    after = build_segmenter(load_method(name), clip, refiner=refiner(coarse_threshold=0.0, min_area=0))
    result = after.segment(after.encode(image()), bank)
    assert result.notes["refined_regions"] > 0
    assert set(result.labels.unique().tolist()) <= set(before.labels.unique().tolist())
    assert result.labels.dtype == torch.int32
    assert 0 <= float(result.confidence.min()) <= float(result.confidence.max()) <= 1
    shy = build_segmenter(load_method(name), clip, refiner=refiner(iou_threshold=1e6, min_area=0))
    same = shy.segment(shy.encode(image()), bank)
    assert torch.equal(same.labels, before.labels)
    assert same.notes["refined_regions"] == 0
    with pytest.raises(ValueError, match="encode it with this segmenter"):
        after.segment(plain.encode(image()), bank)


def test_scores_of_chosen_classes_are_rows_of_all():
    clip = tiny_clip("vit")
    bank = TextBank(
        F.normalize(torch.randn(6, EMBED_DIM), dim=1), torch.tensor([0, 0, 1, 2, 3, 3]), tuple("abcd"), clip.fingerprint
    )
    segmenter = build_segmenter(load_method("maskclip"), clip)
    encoded = segmenter.encode(image())
    parts = segmenter._classified(encoded, bank)
    whole = segmenter.classifier.scores(*parts)
    for wanted in ([1, 3], [0], [2, 0]):
        chosen = segmenter.classifier.scores(*parts, classes=torch.tensor(wanted))
        assert torch.allclose(chosen, whole[wanted], atol=1e-6)


def test_wrong_settings_say_what_is_right():
    with pytest.raises(ValueError, match="either weights"):
        SamPromptRefiner()
    with pytest.raises(ValueError, match="box or a point"):
        refiner(use_box=False, use_point=False)
    assert isinstance(refiner().prompter, SamPrompter)
