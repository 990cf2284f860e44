"""The cosine classifier, and fusions against their closed forms."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ovperc.core.background import Background
from ovperc.core.structures import TextBank
from ovperc.text.region_scores import Fusion, RegionLogits, TextClassifier, fuse_scores, word_logits


def bank(queries: int = 5, owners: list[int] | None = None, background: Background | None = None) -> TextBank:
    rows = F.normalize(torch.randn(queries, 8, generator=torch.Generator().manual_seed(4)), dim=1)
    owners = owners or list(range(queries))
    names = tuple(f"class {index}" for index in range(max(owners) + 1))
    if background is not None:
        names = ("background", *names[1:])
    return TextBank(rows, torch.tensor(owners), names, "test", background or Background())


def logits(seed: int, regions: int = 6, classes: int = 5) -> RegionLogits:
    generator = torch.Generator().manual_seed(seed)
    return RegionLogits(
        torch.randn(regions, classes, generator=generator) * 3, torch.randn(regions, generator=generator)
    )


BASE = (True, False, True, True, False)
EMBEDDINGS = torch.randn(6, 8, generator=torch.Generator().manual_seed(5)) * 3


def test_word_logits_are_scaled_cosines_of_the_best_prompt() -> None:
    words = bank(5, [0, 0, 1, 2, 2])
    cosines = torch.stack([F.cosine_similarity(EMBEDDINGS, row[None], dim=1) for row in words.embeddings], dim=1)
    wanted = 7 * torch.stack([cosines[:, :2].amax(1), cosines[:, 2], cosines[:, 3:].amax(1)], dim=1)
    assert torch.allclose(word_logits(EMBEDDINGS, words, 7.0), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["learned", "zero", "none"])
def test_background_rows(kind: str) -> None:
    classifier = TextClassifier(8, 10.0, learn_scale=False, background=kind)
    found = classifier(EMBEDDINGS, bank())
    assert found.classes.shape == (6, 5)
    if kind == "learned":
        wanted = 10 * F.cosine_similarity(EMBEDDINGS, classifier.background[None], dim=1)
    else:
        wanted = torch.full((6,), 0.0 if kind == "zero" else -torch.inf)
    assert torch.allclose(found.background, wanted, atol=1e-5)
    classes, background = found.probabilities()
    assert torch.allclose(classes.sum(1) + background, torch.ones(6), atol=1e-5)


def test_spoken_background_joins_the_background_column() -> None:
    words = bank(5, [0, 0, 1, 2, 3], Background(("wall", "sky")))
    classifier = TextClassifier(8, 10.0, background="none")
    found = classifier(EMBEDDINGS, words)
    plain = word_logits(EMBEDDINGS, words, classifier.scale)
    assert torch.allclose(found.classes, plain[:, 1:]) and torch.allclose(found.background, plain[:, 0])
    threshold = bank(3, [1, 2, 3], Background(threshold=0.2))
    found = classifier(EMBEDDINGS, threshold)
    assert found.classes.shape == (6, 3) and torch.isinf(found.background).all()


def test_fusion_limits() -> None:
    first, second = logits(0).probabilities()[0], logits(1).probabilities()[0]
    assert torch.allclose(fuse_scores(first, second, 0.0), first, rtol=1e-5)
    assert torch.allclose(fuse_scores(first, second, 1.0), second, rtol=1e-5)
    assert torch.allclose(fuse_scores(first, second, 0.5), (first * second).sqrt(), rtol=1e-5)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        fuse_scores(first, second, 1.5)
    with pytest.raises(ValueError, match="one shape"):
        fuse_scores(first, second[:2], 0.5)


def test_vild_ensemble_is_a_cube_root_of_three_factors() -> None:
    """The released code multiplies text, image, and text again for base or image again for novel classes."""
    text, image = logits(0), logits(1)
    p_text = torch.cat([text.classes, text.background[:, None]], 1).softmax(1)[:, :-1]
    p_image = image.classes.softmax(1)
    third = torch.where(torch.tensor(BASE), p_text, p_image)
    wanted = (p_text * p_image * third) ** (1 / 3)
    found = Fusion("vild", base=1 / 3, novel=2 / 3)(text, image, BASE)
    assert torch.allclose(found, wanted, rtol=1e-4)


def test_fvlm_keeps_the_detectors_background_and_renormalises() -> None:
    text, clip = logits(0), logits(1)
    found = Fusion("fvlm", base=0.35, novel=0.65)(text, clip, BASE)
    (ours, background), (theirs, _) = text.probabilities(), clip.probabilities()
    weight = torch.where(torch.tensor(BASE), 0.35, 0.65)
    fused = ours ** (1 - weight) * theirs**weight
    assert torch.allclose(found, fused / (fused.sum(1, keepdim=True) + background[:, None]), rtol=1e-4)
    raw = Fusion("fvit", base=0.35, novel=0.65)(text, clip, BASE)
    assert torch.allclose(raw, fused, rtol=1e-4)


def test_policies_of_one_posterior() -> None:
    text, clip = logits(0), logits(1)
    assert torch.equal(Fusion("text")(text, None, BASE), text.probabilities()[0])
    assert torch.equal(Fusion("vlm")(None, clip, BASE), clip.probabilities()[0])
    for fusion, parts in (
        (Fusion("fvlm"), (text, None)),
        (Fusion("text"), (None, clip)),
        (Fusion("vlm"), (text, None)),
    ):
        with pytest.raises(ValueError, match="does not have"):
            fusion(*parts, BASE)
    with pytest.raises(ValueError, match="fvlm"):
        Fusion("fvml")
