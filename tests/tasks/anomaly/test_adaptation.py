"""The adapter written by hand against autograd and torch's AdamW."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from ovperc.tasks.anomaly.adaptation import AdaptiveTextHead, TextAdapter
from ovperc.tasks.anomaly.state_texts import StateTexts

E, Q, N = 12, 10, 7


def _texts() -> StateTexts:
    generator = torch.Generator().manual_seed(0)
    bank = F.normalize(torch.randn(Q, E, generator=generator), dim=-1)
    return StateTexts(F.normalize(bank[: Q // 2].mean(0), dim=-1), F.normalize(bank[Q // 2 :].mean(0), dim=-1), bank)


def _reference(clean: torch.Tensor, texts: StateTexts, head: AdaptiveTextHead) -> torch.Tensor:
    """The steps of the paper for one image, ``(n, E)``, with a graph and a stock optimiser."""
    generator = torch.Generator().manual_seed(head.seed)
    bound = E**-0.5
    draw = (2 * torch.rand(Q, E + 1, generator=generator) - 1) * bound
    layer = torch.nn.Linear(E, Q)
    layer.weight.data, layer.bias.data = draw[:, :E].clone(), draw[:, E].clone()
    optimiser = torch.optim.AdamW(layer.parameters(), lr=head.lr)
    both = torch.stack([texts.normal, texts.anomalous], dim=1)

    def chances(tokens: torch.Tensor) -> torch.Tensor:
        adapted = 0.5 * tokens + 0.5 * torch.tanh(layer(F.normalize(tokens, dim=-1))) @ texts.bank
        return (F.normalize(adapted, dim=-1) @ both).softmax(dim=-1)

    for _ in range(head.steps):
        noisy = clean + head.noise * torch.randn(clean.shape, generator=generator)
        q, r = chances(clean), chances(noisy)
        loss = -(q * q.log()).sum(-1).mean() + 0.5 * (-r[:, 1].log() - q[:, 0].log()).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return chances(clean)[:, 1]


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_batched_equals_one_by_one_with_autograd(steps):
    texts = _texts()
    head = AdaptiveTextHead(steps=steps, lr=1e-2, noise=0.3)
    images = torch.randn(3, N, E, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        found = head.probabilities(images, texts)
        alone = torch.cat([head.probabilities(image[None], texts) for image in images])
    wanted = torch.stack([_reference(image, texts, head) for image in images])
    assert_close(found, wanted, atol=2e-5, rtol=1e-4)
    assert_close(found, alone, atol=1e-6, rtol=1e-5)


def test_the_loss_that_is_returned():
    texts, clean = _texts(), torch.randn(2, N, E, generator=torch.Generator().manual_seed(1))
    adapter = TextAdapter(texts.bank, 2, torch.Generator().manual_seed(0))
    adapted, noisy = F.normalize(adapter(clean), dim=-1), F.normalize(adapter(clean + 1), dim=-1)
    both = torch.stack([texts.normal, texts.anomalous], dim=1)
    q, r = (adapted @ both).softmax(-1), (noisy @ both).softmax(-1)
    wanted = -(q * q.log()).sum(-1).mean(1) + 0.5 * (-r[..., 1].log() - q[..., 0].log()).mean(1)
    assert_close(adapter.step(clean, clean + 1, texts.direction), wanted)


def test_learned_prompts_have_no_sentences_to_adapt_to():
    texts = StateTexts(torch.ones(E), torch.ones(E), torch.empty(0, E))
    with pytest.raises(ValueError, match="composed sentences"):
        AdaptiveTextHead().probabilities(torch.ones(1, N, E), texts)
    with pytest.raises(ValueError, match="steps"):
        AdaptiveTextHead(steps=-1)
