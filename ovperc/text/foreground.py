"""CLIP-DINOiser's last step: softmax on the patch grid, and a learned background rule."""

from __future__ import annotations

from torch import Tensor

from ovperc.core.structures import DenseEmbeddings, TextBank
from ovperc.registry import LOGIT_RULES
from ovperc.text.logit_rules import LogitRule
from ovperc.text.patch_scores import PatchScores


class _WithBackground(PatchScores):
    """Softmax probabilities of patches; those of background patches are 1 for every prompt of label 0."""

    probabilities = True

    def __init__(
        self, scores: PatchScores, scale: float, background: tuple[Tensor, float] | None, of_zero: Tensor
    ) -> None:
        super().__init__(scores.num_queries, scores.chunk_queries)
        self._scores = scores
        self._scale = scale
        self._peak, self._total = scores.softmax_parts(scale)
        self._background = None
        self._of_zero = of_zero
        if background is not None:
            foreground, delta = background
            self._background = (1 / self._total < delta) & (foreground <= 0)

    def compute(self, queries: slice) -> Tensor:
        scores = self._scores.compute(queries)
        probability = (scores * self._scale - self._peak[:, None]).exp_().div_(self._total[:, None])
        if self._background is not None:
            probability.masked_fill_(self._background[:, None] & self._of_zero[queries][:, None], 1.0)
        return probability


@LOGIT_RULES.register_module()
class ForegroundRule(LogitRule):
    """Softmax on the patch grid, with CLIP-DINOiser's background rule where the words have a background.

    ``P = softmax_q(scale l)``. Where the vocabulary names a background (prompts of label 0) and the readout
    predicts a foreground, patches whose best probability is below ``delta`` and whose foreground probability is at
    most 0.5 get ``P = 1`` for label 0 (Wysoczanska et al., ECCV 2024, eq. 7). Without background words only
    the softmax is applied. Tiles are independent.

    Args:
        delta: patches with at least this probability keep their class.
        scale: factor of the cosines inside the softmax.
    """

    def __init__(self, delta: float = 0.99, scale: float = 100.0) -> None:
        if not 0.0 <= delta <= 1.0:
            raise ValueError(f"delta is a probability in [0, 1]; got {delta}")
        self.delta = delta
        self.scale = scale

    def __call__(self, scores: PatchScores, embeddings: DenseEmbeddings, bank: TextBank) -> PatchScores:
        """Wraps the scores; see the class."""
        of_zero = bank.owners == 0
        named = bool(bank.background.words) and bool(of_zero.any())
        foreground = embeddings.foreground
        decided = (foreground.flatten(1), self.delta) if named and foreground is not None else None
        return _WithBackground(scores, self.scale, decided, of_zero)
