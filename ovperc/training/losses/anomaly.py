"""Losses of predicted anomaly maps: few pixels are damaged, so both weigh the rare side."""

from __future__ import annotations

from torch import Tensor

_SMOOTH = 1e-5


def focal_loss(chance: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """``mean(-(1 - p_t)^gamma log p_t)`` of two classes (Lin et al., ICCV 2017), on probabilities.

    As in AnomalyCLIP's and APRIL-GAN's code the one-hot target is clamped to ``[1e-5, 1 - 1e-5]`` and ``1e-5`` is
    added: ``p_t = sum_c clamp(y_c) p_c + 1e-5``.

    Args:
        chance: ``(B, H, W)`` float32 in 0..1, of the positive class; the other has the rest.
        target: ``(B, H, W)``, 0 or 1.
        gamma: how much easy pixels are played down.

    Returns:
        A scalar.
    """
    target = target.to(chance.dtype).clamp(_SMOOTH, 1 - _SMOOTH)
    likely = target * chance + (1 - target) * (1 - chance) + _SMOOTH
    return (-(1 - likely).pow(gamma) * likely.log()).mean()


def dice_loss(chance: Tensor, target: Tensor) -> Tensor:
    """``1 - mean_b (2 sum(p y) + 1) / (sum p + sum y + 1)`` (Milletari et al., 2016).

    Args:
        chance: ``(B, H, W)`` float32 in 0..1.
        target: ``(B, H, W)``, 0 or 1.

    Returns:
        A scalar.
    """
    chance, target = chance.flatten(1), target.flatten(1).to(chance.dtype)
    overlap = (chance * target).sum(dim=1)
    return 1 - ((2 * overlap + 1) / (chance.sum(dim=1) + target.sum(dim=1) + 1)).mean()
