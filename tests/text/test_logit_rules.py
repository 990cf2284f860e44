"""Score rules against their formulas written out on dense tensors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ovperc.core.structures import DenseEmbeddings, TextBank
from ovperc.registry import LOGIT_RULES
from ovperc.text.classifier import StreamingClassifier
from ovperc.text.logit_rules import FeatureSurgery, KeySmoothing, PromptDenoising, RuleChain
from ovperc.tiling import Stitcher, Tiler

EMBED, PATCH = 24, 8
WHOLE, WINDOWS = Tiler(), Tiler(crop_px=24, stride_px=16)
SYNONYMS = (1, 3, 1, 1, 2, 1)


def make_case(tiler, size_hw=(40, 56)):
    generator = torch.Generator().manual_seed(0)
    geometry = tiler.plan(size_hw, PATCH)
    grid_hw = (geometry.tile_hw[0] // PATCH, geometry.tile_hw[1] // PATCH)
    tiles, patches = geometry.num_tiles, grid_hw[0] * grid_hw[1]
    embeddings = DenseEmbeddings(
        F.normalize(0.3 * torch.randn(tiles, EMBED, *grid_hw, generator=generator) + 1, dim=1),
        pooled=F.normalize(torch.randn(tiles, EMBED, generator=generator), dim=1),
        keys=torch.randn(tiles, patches, 10, generator=generator) + 1,
    )
    prompts = F.normalize(0.3 * torch.randn(sum(SYNONYMS), EMBED, generator=generator) + 1, dim=1)
    owners = torch.repeat_interleave(torch.arange(len(SYNONYMS)), torch.tensor(SYNONYMS))
    bank = TextBank(prompts, owners, tuple("abcdef"), "clip-a")
    return embeddings, bank, Stitcher(geometry, grid_hw)


def cosines(embeddings, bank):
    """``(T, Q, n)``."""
    return torch.einsum("qe,tehw->tqhw", bank.embeddings, embeddings.patches).flatten(2)


def denoised(logits, bank, threshold):
    probability = torch.softmax(100 * logits, dim=1)
    for label in range(bank.num_classes):
        prompts = bank.owners == label
        if probability[:, prompts].max() < threshold:
            logits = torch.where(prompts[:, None], torch.tensor(-100.0), logits)
    return logits


def smoothed(logits, keys, threshold, axis):
    probability = torch.softmax(100 * logits, dim=1)
    unit = F.normalize(keys, dim=-1 if axis == "channel" else 1)
    spread = torch.einsum("tij,tqj->tqi", unit @ unit.transpose(1, 2), probability)
    return torch.where(probability.amax(dim=1, keepdim=True) < threshold, spread, probability)


def merged(patch_scores, stitcher):
    return stitcher.merge(patch_scores.unflatten(2, stitcher.grid_hw))


def check_labels(result, values, confidence, bank):
    """``values`` ``(Q, H, W)`` decide the label, ``confidence`` belongs to the best of them."""
    best = values.topk(2, dim=0)
    clear = (best.values[0] - best.values[1]).abs() > 1e-5 * best.values[0].abs().clamp_min(1)
    assert torch.equal(result.labels[clear].long(), bank.owners[best.indices[0]][clear])
    torch.testing.assert_close(result.confidence, confidence, atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("tiler", [WHOLE, WINDOWS], ids=["whole", "windows"])
def test_prompt_denoising(tiler, threshold, chunk):
    embeddings, bank, stitcher = make_case(tiler)
    values = merged(denoised(cosines(embeddings, bank), bank, threshold), stitcher)
    rule = PromptDenoising(threshold)
    result = StreamingClassifier(40.0, chunk_queries=chunk)(embeddings, bank, stitcher, rule=rule)
    check_labels(result, values, torch.softmax(40 * values, dim=0).amax(dim=0), bank)


def test_prompt_denoising_prunes_whole_classes():
    embeddings, bank, stitcher = make_case(WHOLE)
    weak = torch.softmax(100 * cosines(embeddings, bank), dim=1).amax(dim=(0, 2))
    threshold = float(weak.sort().values[3]) + 1e-4
    raw = StreamingClassifier().scores(embeddings, bank, stitcher, rule=PromptDenoising(threshold), raw=True)
    pruned = [bool((weak[bank.owners == label] < threshold).all()) for label in range(6)]
    assert 0 < sum(pruned) < 6
    assert [bool((raw[label] < -99).all()) for label in range(6)] == pruned


def test_lowest_class_wins_when_all_are_pruned():
    embeddings, bank, stitcher = make_case(WHOLE)
    flat = DenseEmbeddings(torch.zeros_like(embeddings.patches))
    labels = StreamingClassifier()(flat, bank, stitcher, rule=PromptDenoising(0.9)).labels
    assert labels.unique().tolist() == [0]


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("axis", ["channel", "token"])
@pytest.mark.parametrize("threshold", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("tiler", [WHOLE, WINDOWS], ids=["whole", "windows"])
def test_key_smoothing(tiler, threshold, axis, chunk):
    embeddings, bank, stitcher = make_case(tiler)
    values = merged(smoothed(cosines(embeddings, bank), embeddings.keys, threshold, axis), stitcher)
    rule = KeySmoothing(threshold, axis)
    classifier = StreamingClassifier(chunk_queries=chunk)
    result = classifier(embeddings, bank, stitcher, rule=rule)
    check_labels(result, values, values.amax(dim=0) / values.sum(dim=0), bank)
    scores = classifier.scores(embeddings, bank, stitcher, rule=rule, raw=True)
    torch.testing.assert_close(scores[1], values[bank.owners == 1].amax(dim=0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk", [None, 2])
def test_denoising_then_smoothing(chunk):
    embeddings, bank, stitcher = make_case(WINDOWS)
    logits = denoised(cosines(embeddings, bank), bank, 0.95)
    values = merged(smoothed(logits, embeddings.keys, 1.0, "channel"), stitcher)
    rule = RuleChain([{"type": "PromptDenoising", "threshold": 0.95}, KeySmoothing()])
    assert rule.needs_keys
    assert not rule.needs_pooled
    result = StreamingClassifier(chunk_queries=chunk)(embeddings, bank, stitcher, rule=rule)
    check_labels(result, values, result.confidence, bank)


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("tiler", [WHOLE, WINDOWS], ids=["whole", "windows"])
def test_feature_surgery_equals_the_four_dimensional_form(tiler, chunk):
    embeddings, bank, stitcher = make_case(tiler)
    image = F.normalize(embeddings.pooled.mean(dim=0), dim=0)
    weights = torch.softmax(2 * bank.embeddings @ image, dim=0)
    weights = weights / weights.mean()
    products = torch.einsum("tehw,qe,q->tqehw", embeddings.patches, bank.embeddings, weights)
    values = merged((products - products.mean(dim=1, keepdim=True)).sum(dim=2).flatten(2), stitcher)
    classifier = StreamingClassifier(40.0, chunk_queries=chunk)
    result = classifier(embeddings, bank, stitcher, rule=FeatureSurgery())
    check_labels(result, values, torch.softmax(40 * values, dim=0).amax(dim=0), bank)
    raw = classifier.scores(embeddings, bank, stitcher, rule=FeatureSurgery(), raw=True)
    torch.testing.assert_close(raw[4], values[bank.owners == 4].amax(dim=0), atol=1e-5, rtol=0)


def test_surgery_of_one_prompt_keeps_its_cosine():
    embeddings, bank, stitcher = make_case(WHOLE)
    one = TextBank(bank.embeddings[:1], bank.owners[:1], ("a",), "clip-a")
    classifier = StreamingClassifier()
    raw = classifier.scores(embeddings, one, stitcher, rule=FeatureSurgery(), raw=True)
    assert torch.equal(raw, classifier.scores(embeddings, one, stitcher, raw=True))


def test_missing_inputs_are_named():
    embeddings, bank, stitcher = make_case(WHOLE)
    bare = DenseEmbeddings(embeddings.patches)
    classifier = StreamingClassifier()
    with pytest.raises(ValueError, match="keys"):
        classifier(bare, bank, stitcher, rule=KeySmoothing())
    with pytest.raises(ValueError, match="pooled"):
        classifier(bare, bank, stitcher, rule=FeatureSurgery())
    with pytest.raises(ValueError, match="first in a RuleChain"):
        classifier(embeddings, bank, stitcher, rule=RuleChain([PromptDenoising(), FeatureSurgery()]))
    with pytest.raises(ValueError, match="threshold"):
        PromptDenoising(1.5)
    with pytest.raises(ValueError, match="channel"):
        KeySmoothing(norm_axis="chanel")


def test_rules_are_registered():
    assert {"PromptDenoising", "KeySmoothing", "FeatureSurgery", "RuleChain"} <= set(LOGIT_RULES.list())
    with pytest.raises(ValueError, match="FeatureSurgery"):
        LOGIT_RULES.build({"type": "FeatureSurgry"})
