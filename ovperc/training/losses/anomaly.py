"""Losses of predicted anomaly maps; both are weighted for the rare anomalous pixels."""

from __future__ import annotations

from torch import Tensor

_SMOOTH = 1e-5


def focal_loss(probability: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """``mean(-(1 - p_t)^gamma log p_t)`` of two classes (Lin et al., ICCV 2017), on probabilities.

    As in AnomalyCLIP's and APRIL-GAN's code the one-hot target is clamped to ``[1e-5, 1 - 1e-5]`` and ``1e-5`` is
    added: ``p_t = sum_c clamp(y_c) p_c + 1e-5``.

    Args:
        probability: ``(B, H, W)`` float32 in 0..1, of the positive class; the other has the rest.
        target: ``(B, H, W)``, 0 or 1.
        gamma: how much easy pixels are played down.

    Returns:
        A scalar.
    """
    target = target.to(probability.dtype).clamp(_SMOOTH, 1 - _SMOOTH)
    likely = target * probability + (1 - target) * (1 - probability) + _SMOOTH
    return (-(1 - likely).pow(gamma) * likely.log()).mean()


def dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    """``1 - mean_b (2 sum(p y) + 1) / (sum p + sum y + 1)`` (Milletari et al., 2016).

    Args:
        probability: ``(B, H, W)`` float32 in 0..1.
        target: ``(B, H, W)``, 0 or 1.

    Returns:
        A scalar.
    """
    probability, target = probability.flatten(1), target.flatten(1).to(probability.dtype)
    overlap = (probability * target).sum(dim=1)
    return 1 - ((2 * overlap + 1) / (probability.sum(dim=1) + target.sum(dim=1) + 1)).mean()
