"""Losses of CLIP-DINOiser's two heads (Wysoczanska et al., ECCV 2024, section 3.3)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def affinity_loss(similarity: Tensor, taught: Tensor, threshold: float = 0.2) -> Tensor:
    """Binary cross-entropy on the cosine itself, negative ones taken as 0, against ``taught >= threshold``.

    The cosine serves as the logit, as in the released code: pairs that do not belong together cost at least
    ``log 2``, pairs that do at least ``log(1 + 1/e)``, and nothing pulls a cosine below 0.

    Args:
        similarity: ``(B, n, n)`` cosines of the student.
        taught: ``(B, n, n)`` cosines of the teacher.
        threshold: of the teacher's cosines.

    Returns:
        Scalar, the mean over all pairs.
    """
    return F.binary_cross_entropy_with_logits(similarity.clamp(min=0), (taught >= threshold).to(similarity.dtype))


def foreground_loss(logits: Tensor, probability: Tensor) -> Tensor:
    """Binary cross-entropy against ``probability > 0.5``.

    Args:
        logits: ``(B, h, w)`` of the student.
        probability: ``(B, H, W)`` probabilities of the teacher, brought to ``(h, w)`` without antialiasing.
    """
    resized = F.interpolate(probability[:, None], logits.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return F.binary_cross_entropy_with_logits(logits, (resized > 0.5).to(logits.dtype))
