"""Losses between regions and texts: hand values, plain loops, queue."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou

from ovperc.training.losses.contrastive import masked_contrastive_loss
from ovperc.training.losses.grounding import box_losses, match_queries, word_loss
from ovperc.training.losses.masked_tokens import draw_patch_masks, mask_pixels, reconstruction_loss
from ovperc.training.losses.region_text import (
    NO_ID,
    CaptionQueue,
    CaptionRegionLoss,
    RegionTexts,
    cosine_distances,
    pick_tag_boxes,
    tag_loss,
)
from ovperc.training.losses.token_wise import keep_telling_tokens, late_interaction, token_wise_loss


def units(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_cosine_distances_by_hand():
    student = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0], [0.0, -1.0], [1.0, 0.0]], requires_grad=True)
    found = cosine_distances(student, teacher)
    assert found.tolist() == pytest.approx([0.0, 2.0, 1 - math.sqrt(0.5)], abs=1e-6)
    found.sum().backward()
    assert teacher.grad is None


def plain_caption_loss(regions, ids, captions, owners, scale, bias, negative):
    total = 0.0
    for region, own in zip(regions, ids.tolist(), strict=True):
        positives = sum(owner in own for owner in owners.tolist())
        for caption, owner in zip(captions, owners.tolist(), strict=True):
            z = scale * float(F.cosine_similarity(region, caption, dim=0)) + bias
            if owner in own:
                total += math.log1p(math.exp(-z)) / positives
            else:
                total += negative * math.log1p(math.exp(z))
    return total / len(regions)


def test_caption_loss_equals_the_loop_and_remembers():
    loss = CaptionRegionLoss(8, scale=5.0, bias=-1.0, queue=4, base_batch=4, weight=0.1)
    regions, captions = units(3, 8), units(3, 8, seed=1)
    ids = torch.tensor([[10, 10], [11, 12], [12, NO_ID]])
    owners = torch.tensor([10, 11, 12])
    first = loss(RegionTexts(regions, ids), captions, owners)
    expected = 0.1 * 3 / 4 * plain_caption_loss(regions, ids, captions, owners, 5.0, -1.0, 0.125)
    assert first.item() == pytest.approx(expected, rel=1e-5)
    more, others = units(2, 8, seed=2), torch.tensor([13, 11])
    second = loss(RegionTexts(regions, ids), more, others)
    known, who = torch.cat([more, captions]), torch.cat([others, owners])
    expected = 0.1 * 3 / 4 * plain_caption_loss(regions, ids, known, who, 5.0, -1.0, 0.125)
    assert second.item() == pytest.approx(expected, rel=1e-5)
    assert loss.queue.ids.tolist() == [11, 12, 13, 11], "the oldest has left"
    assert set(loss.state_dict()) == {"bias"}, "the queue is no part of the state"


def test_caption_loss_by_hand():
    loss = CaptionRegionLoss(2, scale=1.0, bias=None, queue=0, base_batch=0, weight=1.0, negative_weight=0.5)
    found = loss(RegionTexts(torch.tensor([[1.0, 0.0]]), torch.tensor([[7]])), torch.eye(2), torch.tensor([7, 8]))
    assert found.item() == pytest.approx(math.log1p(math.exp(-1)) + 0.5 * math.log(2), rel=1e-6)
    assert len(loss.queue.ids) == 0
    none = loss(
        RegionTexts(torch.zeros(0, 2, requires_grad=True), torch.zeros(0, 1).long()), torch.eye(2), torch.arange(2)
    )
    none.backward()
    assert none.item() == 0


def test_queue_refuses_what_does_not_fit():
    queue = CaptionQueue(3, 2)
    with pytest.raises(ValueError, match="2 captions and 1 ids"):
        queue.push(torch.eye(2), torch.tensor([1]))
    with pytest.raises(ValueError, match="must not be negative"):
        CaptionQueue(-1, 2)


def test_tag_loss_by_hand():
    logits = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    found = tag_loss(logits, [torch.tensor([0]), torch.tensor([], dtype=torch.int64)])
    expected = (math.log(2) + math.log1p(math.exp(2)) + math.log1p(math.exp(1)) + math.log(2)) / 2
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_tag_boxes_are_the_largest_good_proposals_inside_a_tile():
    tiles = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10]])
    proposals = torch.tensor([[1.0, 1, 4, 4], [-4, 2, 6, 8], [0, 0, 40, 40], [2, 2, 9, 9]])
    scores = torch.tensor([0.9, 0.8, 0.99, 0.1])
    found = pick_tag_boxes(tiles, proposals, scores)
    assert found.tolist() == [[2, 2, 9, 9], [10, 0, 20, 10]], "the huge one lies in no tile"
    assert pick_tag_boxes(tiles, proposals, scores, most=2)[0].tolist() == [0, 2, 6, 8], "clamped, third by score"


def plain_late_interaction(images, texts, is_word):
    first, second = np.zeros((len(images), len(texts))), np.zeros((len(images), len(texts)))
    for i, image in enumerate(images):
        for j, text in enumerate(texts):
            words = text[is_word[j]]
            table = (image @ words.T).numpy()
            first[i, j] = table.max(axis=1).mean()
            second[i, j] = table.max(axis=0).mean()
    return first, second


def test_late_interaction_equals_the_loop(monkeypatch):
    images, texts = units(3, 7, 4), units(5, 6, 4, seed=1)
    is_word = torch.arange(6) < torch.tensor([1, 2, 6, 3, 4])[:, None]
    for elements in (1 << 24, 1):
        monkeypatch.setattr("ovperc.training.losses.token_wise._CHUNK_ELEMENTS", elements)
        found = late_interaction(images, texts, is_word)
        first, second = plain_late_interaction(images, texts, is_word)
        assert np.allclose(found.image_to_text, first, atol=1e-6)
        assert np.allclose(found.text_to_image, second, atol=1e-6)
    with pytest.raises(ValueError, match="at least one word"):
        late_interaction(images, texts, torch.zeros(5, 6, dtype=torch.bool))


def test_one_token_each_is_plain_contrast():
    images, texts = units(4, 1, 8), units(4, 1, 8, seed=1)
    scale = torch.tensor(9.0)
    found = token_wise_loss(late_interaction(images, texts, torch.ones(4, 1, dtype=torch.bool)), scale)
    none = torch.zeros(4, 4, dtype=torch.bool)
    expected = masked_contrastive_loss(images[:, 0], texts[:, 0], torch.arange(4), none, scale)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_true_pairs_are_no_negatives():
    images, texts = units(2, 3, 8), units(2, 3, 8, seed=1)
    similarity = late_interaction(images, texts, torch.ones(2, 3, dtype=torch.bool))
    everything = torch.ones(2, 2, dtype=torch.bool)
    assert token_wise_loss(similarity, torch.tensor(5.0), everything).item() == pytest.approx(0, abs=1e-6)


def test_telling_tokens_are_kept():
    images = torch.eye(4)[None]
    texts = torch.eye(4)[[2, 0]][None]
    kept = keep_telling_tokens(images, texts, torch.ones(1, 2, dtype=torch.bool), 0.5)
    assert torch.equal(kept[0], torch.eye(4)[[0, 2]])


def test_matching_and_box_losses_by_hand():
    predicted = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1]], [[0.5] * 4] * 3])
    boxes = [torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.5, 0.5, 0.2, 0.4]]), torch.zeros(0, 4)]
    matches = match_queries(predicted, boxes)
    assert matches.image.tolist() == [0, 0]
    assert dict(zip(matches.query.tolist(), matches.box.tolist(), strict=True)) == {0: 1, 1: 0}
    l1, giou = box_losses(predicted, boxes, matches)
    assert l1.item() == pytest.approx(0.1)
    overlap = generalized_box_iou(torch.tensor([[0.4, 0.4, 0.6, 0.6]]), torch.tensor([[0.4, 0.3, 0.6, 0.7]])).item()
    assert giou.item() == pytest.approx((1 - overlap) / 2, rel=1e-5)


def test_nothing_to_match_costs_nothing():
    predicted = torch.rand(2, 3, 4, requires_grad=True)
    boxes = [torch.zeros(0, 4)] * 2
    matches = match_queries(predicted, boxes)
    losses = [
        *box_losses(predicted, boxes, matches),
        word_loss(units(2, 3, 8), units(0, 8), matches, torch.tensor(5.0)),
    ]
    assert [loss.item() for loss in losses] == [0, 0, 0]
    sum(losses).backward()
    assert predicted.grad.abs().sum() == 0


def test_word_loss_by_hand():
    regions = torch.eye(4)[None]
    boxes = [torch.rand(2, 4) * 0.1 + torch.tensor([[0.2], [0.7]])]
    predicted = torch.stack([boxes[0][1], boxes[0][0], torch.zeros(4), torch.zeros(4)])[None]
    matches = match_queries(predicted, boxes)
    phrases = torch.eye(4)[[1, 0]]  # phrase 0 belongs to query 1, phrase 1 to query 0
    found = word_loss(regions, phrases, matches, torch.tensor(2.0))
    assert found.item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)


def test_patch_masks():
    masks = draw_patch_masks(16, [torch.Generator().manual_seed(seed) for seed in (3, 4, 3)])
    assert torch.equal(masks[0], masks[2]), "of one seed"
    assert torch.equal(masks[:, 0] + masks[:, 1], masks[:, 2])
    shares = torch.stack([draw_patch_masks(64, [torch.Generator().manual_seed(s)])[0, 0].mean() for s in range(300)])
    assert 0.45 < shares.mean() < 0.55
    assert 0.2 < (shares < 0.25).float().mean() < 0.3, "any share of patches is kept equally often"


def test_masked_pixels():
    images = torch.ones(1, 3, 4, 6)
    masks = torch.tensor([[[1.0, 0, 1, 0, 0, 1]]])
    views = mask_pixels(images, masks, (2, 3))
    assert views[0, 0].tolist() == [[1, 1, 0, 0, 1, 1]] * 2 + [[0, 0, 0, 0, 1, 1]] * 2


def test_reconstruction_by_hand():
    predicted, taught = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[4.0, 2.0]]])
    assert reconstruction_loss(predicted, taught, 2.0).item() == pytest.approx(((1 - 2) ** 2 + 1) / 2)
