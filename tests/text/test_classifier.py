"""The streaming classifier against the dense softmax with its merge by maximum."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ovperc.core.structures import Background, DenseEmbeddings, TextBank
from ovperc.refine import PAMR
from ovperc.text import classifier as classifier_module
from ovperc.text.classifier import StreamingClassifier, check_bank
from ovperc.tiling import Stitcher, Tiler

EMBED, PATCH = 32, 8
WHOLE, WINDOWS = Tiler(), Tiler(short_side_px=50, crop_px=24, stride_px=16, pad="symmetric")


def make_bank(synonyms, seed=0, **background):
    """One class per entry of ``synonyms``, with so many random prompts."""
    prompts = torch.randn(sum(synonyms), EMBED, generator=torch.Generator().manual_seed(seed))
    owners = torch.repeat_interleave(torch.arange(len(synonyms)), torch.tensor(synonyms))
    names = tuple(f"class {index}" for index in range(len(synonyms)))
    return TextBank(F.normalize(prompts, dim=1), owners, names, "clip-a", Background(**background))


def make_image(tiler=WHOLE, size_hw=(45, 67), seed=1):
    geometry = tiler.plan(size_hw, PATCH)
    grid_hw = (geometry.tile_hw[0] // PATCH, geometry.tile_hw[1] // PATCH)
    patches = torch.randn(geometry.num_tiles, EMBED, *grid_hw, generator=torch.Generator().manual_seed(seed))
    return DenseEmbeddings(F.normalize(patches, dim=1)), Stitcher(geometry, grid_hw)


def dense_cosines(embeddings, bank, stitcher):
    """``(Q, H, W)``, in float64; the merge itself is tested against pad-and-add beside the stitcher."""
    maps = torch.einsum("qe,tehw->tqhw", bank.embeddings.double(), embeddings.patches.double())
    block = stitcher.block(maps)
    return torch.einsum("Yy,yqx,Xx->qYX", stitcher.rows.double(), block, stitcher.cols.double())


def dense_scores(cosines, bank, scale):
    """Softmax over prompts, then the best prompt of each class, ``(C, H, W)``."""
    probability = torch.softmax(cosines * scale, dim=0)
    classes = [probability[bank.owners == label] for label in range(bank.num_classes)]
    return torch.stack([c.amax(dim=0) if len(c) else torch.zeros_like(probability[0]) for c in classes])


def check_against_dense(result, scores, scale, threshold=0.0):
    best = scores.topk(min(2, len(scores)), dim=0)
    expected = best.indices[0].clone()
    expected[best.values[0] < threshold] = 0
    clear = torch.ones_like(expected, dtype=torch.bool)
    if len(scores) > 1:
        clear = (best.values[0] / best.values[1]).log() > scale * 1e-6
    clear &= (best.values[0] - threshold).abs() > 1e-5
    assert clear.float().mean() > 0.99
    assert torch.equal(result.labels[clear].long(), expected[clear])
    assert result.labels.dtype == torch.int32
    assert result.confidence.dtype == torch.float32
    torch.testing.assert_close(result.confidence.double(), best.values[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk", [None, 1, 7])
@pytest.mark.parametrize("synonyms", [(1,), (3,), (1, 1), (1,) * 40, (5, 1, 2, 1, 9, 1)])
@pytest.mark.parametrize("tiler", [WHOLE, WINDOWS], ids=["whole", "windows"])
def test_equals_the_dense_softmax(tiler, synonyms, chunk):
    embeddings, stitcher = make_image(tiler)
    bank = make_bank(synonyms)
    result = StreamingClassifier(40.0, chunk_queries=chunk)(embeddings, bank, stitcher)
    assert result.labels.shape == (45, 67)
    check_against_dense(result, dense_scores(dense_cosines(embeddings, bank, stitcher), bank, 40.0), 40.0)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 200), (91, 64), (8, 8), (129, 65)])
def test_odd_sizes(size_hw):
    embeddings, stitcher = make_image(size_hw=size_hw)
    bank = make_bank((2, 1, 1))
    result = StreamingClassifier()(embeddings, bank, stitcher)
    check_against_dense(result, dense_scores(dense_cosines(embeddings, bank, stitcher), bank, 40.0), 40.0)


@pytest.mark.parametrize("block", [300, 5000, 20_000])
def test_the_block_size_does_not_matter(monkeypatch, block):
    embeddings, stitcher = make_image(WINDOWS, (70, 133))
    bank = make_bank((2,) * 30)
    expected = StreamingClassifier()(embeddings, bank, stitcher)
    monkeypatch.setattr(classifier_module, "_CPU_BLOCK_PER_THREAD", block)
    result = StreamingClassifier(chunk_queries=13)(embeddings, bank, stitcher)
    assert torch.equal(result.labels, expected.labels)
    torch.testing.assert_close(result.confidence, expected.confidence, atol=1e-6, rtol=0)


def test_thousands_of_prompts_in_small_chunks():
    embeddings, stitcher = make_image(size_hw=(24, 40))
    bank = make_bank((2,) * 3000)
    result = StreamingClassifier(100.0, max_buffer_mb=0.05)(embeddings, bank, stitcher)
    check_against_dense(result, dense_scores(dense_cosines(embeddings, bank, stitcher), bank, 100.0), 100.0)


def test_one_class_is_certain():
    embeddings, stitcher = make_image()
    result = StreamingClassifier()(embeddings, make_bank((1,)), stitcher)
    assert result.labels.unique().tolist() == [0]
    assert torch.equal(result.confidence, torch.ones(45, 67))


def test_ties_go_to_the_lowest_class():
    embeddings, stitcher = make_image()
    one = make_bank((1,) * 5)
    twice = one.embeddings[[3, 1, 1, 3, 0]]
    bank = TextBank(twice, one.owners, one.names, one.fingerprint)
    labels = StreamingClassifier(chunk_queries=5)(embeddings, bank, stitcher).labels
    assert set(labels.unique().tolist()) <= {0, 1, 4}


@pytest.mark.parametrize("scale", [1.0, 100.0, 400.0])
def test_opposed_neighbours_do_not_underflow(scale):
    embeddings, stitcher = make_image(size_hw=(40, 40))
    prompts = F.normalize(torch.eye(4, EMBED), dim=1)
    prompts = torch.cat([prompts, -prompts])
    bank = TextBank(prompts, torch.arange(8), tuple("abcdefgh"), "clip-a")
    choice = torch.randint(8, embeddings.patches[:, 0].shape, generator=torch.Generator().manual_seed(3))
    embeddings = DenseEmbeddings(prompts[choice].movedim(-1, 1))
    classifier = StreamingClassifier(scale, chunk_queries=3)
    scores = dense_scores(dense_cosines(embeddings, bank, stitcher), bank, scale)
    result = classifier(embeddings, bank, stitcher)
    torch.testing.assert_close(result.confidence.double(), scores.amax(dim=0), atol=3e-5, rtol=0)
    clear = scores.topk(2, dim=0).values
    clear = (clear[0] / clear[1].clamp_min(1e-300)).log() > 1e-3
    assert torch.equal(result.labels.long()[clear], scores.argmax(dim=0)[clear])


@pytest.mark.parametrize("threshold", [0.4, 0.6, 1.0])
def test_background_threshold(threshold):
    embeddings, stitcher = make_image()
    words = make_bank((1, 2, 1), threshold=threshold)
    bank = TextBank(words.embeddings, words.owners + 1, ("background", *words.names), "clip-a", words.background)
    result = StreamingClassifier(10.0)(embeddings, bank, stitcher)
    scores = dense_scores(dense_cosines(embeddings, bank, stitcher), bank, 10.0)
    check_against_dense(result, scores, 10.0, threshold)
    assert (result.labels == 0).any()


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("tiler", [WHOLE, WINDOWS], ids=["whole", "windows"])
def test_refiner_acts_on_the_logits(tiler, chunk):
    embeddings, stitcher = make_image(tiler)
    bank, guidance = make_bank((1, 3, 1)), torch.rand(3, 45, 67)
    pamr = PAMR(steps=3, dilations=(2, 6))
    refined = pamr.refine(dense_cosines(embeddings, bank, stitcher).float(), pamr.prepare(guidance)).double()
    result = StreamingClassifier(chunk_queries=chunk)(embeddings, bank, stitcher, refiner=pamr, guidance=guidance)
    check_against_dense(result, dense_scores(refined, bank, 40.0), 40.0)


def test_refiner_needs_a_guide_of_the_original_size():
    embeddings, stitcher = make_image()
    with pytest.raises(ValueError, match="guidance"):
        StreamingClassifier()(embeddings, make_bank((1,)), stitcher, refiner=PAMR())
    with pytest.raises(ValueError, match="guidance"):
        StreamingClassifier()(embeddings, make_bank((1,)), stitcher, refiner=PAMR(), guidance=torch.rand(3, 9, 9))


@pytest.mark.parametrize("scale", [40.0, 300.0])
def test_dense_scores_on_request(scale):
    embeddings, stitcher = make_image(WINDOWS)
    words = make_bank((1, 4, 2), threshold=0.1)
    bank = TextBank(words.embeddings, words.owners + 1, ("background", *words.names), "clip-a", words.background)
    classifier = StreamingClassifier(scale, chunk_queries=3)
    cosines = dense_cosines(embeddings, bank, stitcher)
    scores = classifier.scores(embeddings, bank, stitcher).double()
    torch.testing.assert_close(scores, dense_scores(cosines, bank, scale), atol=2e-5, rtol=0)
    raw = classifier.scores(embeddings, bank, stitcher, raw=True).double()
    torch.testing.assert_close(raw[0], torch.full_like(raw[0], -1.0))
    for label in (1, 2, 3):
        torch.testing.assert_close(raw[label], cosines[bank.owners == label].amax(dim=0), atol=1e-5, rtol=0)


def test_raw_scores_do_not_depend_on_the_other_classes():
    embeddings, stitcher = make_image(WINDOWS)
    bank, few = make_bank((2,) * 20), make_bank((2,) * 3)
    few = TextBank(bank.embeddings[:6], few.owners, few.names, few.fingerprint)
    classifier = StreamingClassifier()
    many = classifier.scores(embeddings, bank, stitcher, raw=True)[:3]
    torch.testing.assert_close(classifier.scores(embeddings, few, stitcher, raw=True), many, atol=1e-6, rtol=0)


def test_two_calls_agree_and_inputs_are_left_alone():
    embeddings, stitcher = make_image(WINDOWS)
    bank = make_bank((2,) * 9)
    before = embeddings.patches.clone(), bank.embeddings.clone(), stitcher.rows.clone()
    classifier = StreamingClassifier()
    first, second = classifier(embeddings, bank, stitcher), classifier(embeddings, bank, stitcher)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.confidence, second.confidence)
    for old, new in zip(before, (embeddings.patches, bank.embeddings, stitcher.rows), strict=True):
        assert torch.equal(old, new)


def test_progress_counts_prompts():
    embeddings, stitcher = make_image()
    seen = []
    classifier = StreamingClassifier(chunk_queries=4)
    classifier(embeddings, make_bank((1,) * 10), stitcher, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_banks_of_another_encoder_are_refused():
    bank = make_bank((1, 1))
    check_bank(bank, "clip-a", EMBED)
    with pytest.raises(ValueError, match=r"'clip-a'.*'clip-b'"):
        check_bank(bank, "clip-b", EMBED)
    with pytest.raises(ValueError, match="32 channels"):
        check_bank(bank, "clip-a", 64)


def test_bad_input():
    embeddings, stitcher = make_image()
    with pytest.raises(ValueError, match="must be positive"):
        StreamingClassifier(logit_scale=0.0)
    wide = DenseEmbeddings(torch.zeros(1, 64, *stitcher.grid_hw))
    with pytest.raises(ValueError, match="64 channels"):
        StreamingClassifier()(wide, make_bank((1,)), stitcher)
    broken = DenseEmbeddings(embeddings.patches.clone().fill_(float("nan")))
    with pytest.raises(ValueError, match="not finite"):
        StreamingClassifier()(broken, make_bank((1,)), stitcher)
