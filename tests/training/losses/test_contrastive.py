"""The contrastive loss against a loop that follows its formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from ovperc.training.losses.contrastive import masked_contrastive_loss


def loop_loss(images, texts, owners, true, scale):
    total = 0.0
    queries, count = len(texts), len(images)
    for j in range(queries):
        i = int(owners[j])
        logit = [scale * float(texts[j] @ images[k]) for k in range(count)]
        others = sum(math.exp(logit[k]) for k in range(count) if k != i and not true[j, k])
        total += math.log(math.exp(logit[i]) + others) - logit[i]
        own = logit[i]
        false_texts = [m for m in range(queries) if int(owners[m]) != i and not true[m, i]]
        others = sum(math.exp(scale * float(texts[m] @ images[i])) for m in false_texts)
        total += math.log(math.exp(own) + others) - own
    return total / (2 * queries)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    images = F.normalize(torch.randn(5, 8, generator=generator), dim=-1)
    texts = F.normalize(torch.randn(10, 8, generator=generator), dim=-1)
    owners = torch.arange(5).repeat_interleave(2)
    true = torch.rand(10, 5, generator=generator) < 0.25
    return images, texts, owners, true


def test_equals_the_loop(case):
    images, texts, owners, true = case
    got = masked_contrastive_loss(images, texts, owners, true, torch.tensor(7.0))
    assert float(got) == pytest.approx(loop_loss(*case, 7.0), abs=1e-5)


def test_is_clips_loss_with_one_caption_each_and_nothing_masked(case):
    images, texts = case[0], case[1][:5]
    logits = 9.0 * texts @ images.T
    target = torch.arange(5)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    got = masked_contrastive_loss(images, texts, target, torch.eye(5).bool(), torch.tensor(9.0))
    assert float(got) == pytest.approx(float(expected), abs=1e-6)


def test_images_a_caption_is_true_of_do_not_push(case):
    images, texts, owners, true = case
    images = images.clone().requires_grad_()
    everything = torch.ones_like(true)
    loss = masked_contrastive_loss(images, texts, owners, everything, torch.tensor(7.0))
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert images.grad.abs().max() < 1e-6


def test_gradient_is_finite_at_the_largest_scale(case):
    images, texts, owners, true = case
    texts = texts.clone().requires_grad_()
    masked_contrastive_loss(images, texts, owners, true, torch.tensor(100.0)).backward()
    assert torch.isfinite(texts.grad).all()
