"""AnoVL's test-time adaptation: an adapter trained for a few steps per image (Deng et al., 2023, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.tasks.anomaly.head import HEADS
from ovperc.tasks.anomaly.state_texts import StateTexts
from ovperc.tasks.anomaly.text_map import Pooled, TextMapHead

_BETAS, _EPS = (0.9, 0.999), 1e-8


class TextAdapter:
    """``g(x) = (1 - mix) x + mix T^T tanh(W x / |x| + b)`` for a batch of images, with one ``W, b`` per image.

    The prompt embeddings ``T`` are fixed. Gradients are written out, so no graph is kept and images stay independent;
    every image starts from the same initialisation (that of ``torch.nn.Linear``), so its result depends on it alone.

    Args:
        bank: ``(Q, E)`` unit rows ``T``.
        batch: number of images.
        generator: random generator of the initialisation.
        mix: weight of the adapter branch.
        lr, weight_decay: AdamW settings.
    """

    def __init__(
        self,
        bank: Tensor,
        batch: int,
        generator: torch.Generator,
        mix: float = 0.5,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
    ) -> None:
        bound = 1 / math.sqrt(bank.shape[1])
        draw = torch.rand(bank.shape[0], bank.shape[1] + 1, generator=generator).to(bank.device)
        first = (2 * draw - 1) * bound  # last column: the bias
        self.bank, self.mix, self.lr, self.weight_decay = bank, mix, lr, weight_decay
        self.weights = first.expand(batch, -1, -1).clone()
        self._mean = torch.zeros_like(self.weights)
        self._square = torch.zeros_like(self.weights)
        self._step = 0

    def __call__(self, tokens: Tensor) -> Tensor:
        """Adapted tokens, ``(B, n, E)`` float32, not normalised."""
        return self._forward(tokens)[0]

    def _forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inputs = F.pad(F.normalize(tokens, dim=-1), (0, 1), value=1.0)
        hidden = torch.tanh(inputs @ self.weights.transpose(1, 2))
        return (1 - self.mix) * tokens + self.mix * (hidden @ self.bank), hidden, inputs

    def step(self, clean: Tensor, noisy: Tensor, direction: Tensor) -> Tensor:
        """One step of AdamW on ``mean H(p) + 0.5 mean(-log(1 - p) - log r)``.

        ``p`` is the anomaly probability of a clean token, ``H`` its entropy and ``r`` that of a noisy token: the
        image's predictions are sharpened, with noise as the anomalous class and the image itself as the normal one.

        Args:
            clean: ``(B, n, E)`` float32.
            noisy: ``(B, n, E)`` float32.
            direction: ``t_a - t_n``, ``(E,)``.

        Returns:
            The losses before the step, ``(B,)``.
        """
        count = clean.shape[1]
        tokens = torch.cat([clean, noisy], dim=1)
        adapted, hidden, inputs = self._forward(tokens)
        length = adapted.norm(dim=-1, keepdim=True)
        unit = adapted / length
        margin = unit @ direction
        p, r = margin[:, :count].sigmoid(), margin[:, count:].sigmoid()
        entropy = F.softplus(margin[:, :count]) - margin[:, :count] * p
        hard = F.softplus(margin[:, :count]) + F.softplus(-margin[:, count:])
        slope = torch.cat([-margin[:, :count] * p * (1 - p) + 0.5 * p, 0.5 * (r - 1)], dim=1) / count
        to_adapted = slope[..., None] * (direction - unit * margin[..., None]) / length
        to_hidden = self.mix * (to_adapted @ self.bank.T) * (1 - hidden.square())
        self._update(to_hidden.transpose(1, 2) @ inputs)
        return entropy.mean(dim=1) + 0.5 * hard.mean(dim=1)

    def _update(self, gradient: Tensor) -> None:
        self._step += 1
        first, second = _BETAS
        self.weights.mul_(1 - self.lr * self.weight_decay)
        self._mean.lerp_(gradient, 1 - first)
        self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (self._square / (1 - second**self._step)).sqrt_().add_(_EPS)
        self.weights.addcdiv_(self._mean, root, value=-self.lr / (1 - first**self._step))


@HEADS.register_module()
class AdaptiveTextHead(TextMapHead):
    """AnoVL with test-time adaptation: an adapter is trained on each image's patches before scoring.

    The authors keep the optimiser state across the images of a class, so their results depend on the order; here it
    is reset for every image.

    Args:
        side_blocks, taps, tau, pooled, peak, views: as for :class:`TextMapHead`.
        steps: number of training steps.
        lr: learning rate of AdamW.
        noise: standard deviation of the noise added to tokens.
        mix: weight of the adapter branch.
        seed: seed of initialisation and noise, the same for every image.
    """

    def __init__(
        self,
        side_blocks: int = 12,
        taps: Sequence[int] = (-1,),
        tau: float = 1.0,
        pooled: Pooled = "stock",
        peak: float = 0.0,
        views: bool = False,
        steps: int = 5,
        lr: float = 1e-3,
        noise: float = 0.055,
        mix: float = 0.5,
        seed: int = 111,
    ) -> None:
        super().__init__(side_blocks, taps, tau, pooled, peak, views)
        if steps < 0 or noise < 0 or not 0 <= mix < 1:
            raise ValueError(f"steps and noise must not be negative, mix in [0, 1); got {steps}, {noise} and {mix}")
        self.steps, self.lr, self.noise, self.mix, self.seed = steps, lr, noise, mix, seed

    def probabilities(self, tokens: Tensor, texts: StateTexts) -> Tensor:
        """Anomaly probabilities after adaptation, ``(B, n, E) -> (B, n)`` float32.

        Raises:
            ValueError: the texts have no sentence embeddings, as with learned prompts.
        """
        if not len(texts.bank):
            raise ValueError("adaptation needs composed sentences, not learned prompts; use texts.prompts='anovl'")
        clean = tokens.float()
        generator = torch.Generator().manual_seed(self.seed)
        adapter = TextAdapter(texts.bank.to(clean.device), len(clean), generator, self.mix, self.lr)
        direction = texts.direction.to(clean.device)
        for _ in range(self.steps):
            noise = self.noise * torch.randn(clean.shape[1:], generator=generator).to(clean.device)
            adapter.step(clean, clean + noise, direction)
        return super().probabilities(adapter(clean), texts)
