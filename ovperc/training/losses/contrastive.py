"""Image-text contrast in which captions true of another image are no negatives."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_contrastive_loss(images: Tensor, texts: Tensor, owners: Tensor, true: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE (Radford et al., 2021) with several captions per image.

    For caption ``j`` of image ``i = owners[j]`` with logits ``l = scale * texts @ images.T``::

        text to image:  log(exp(l_ji) + sum of exp(l_jk) over images k the caption is false of) - l_ji
        image to text:  log(exp(l_ji) + sum of exp(l_mi) over captions m that are false of i) - l_ji

    Args:
        images: ``(B, E)`` unit rows.
        texts: ``(Q, E)`` unit rows.
        owners: ``(Q,)`` int64, the image each caption was written for.
        true: ``(Q, B)`` bool, whether the caption is true of the image.
        scale: scalar, the inverse temperature.

    Returns:
        Scalar float32, the mean over captions and both directions.
    """
    logits = scale.float() * texts.float() @ images.float().T
    own = torch.nn.functional.one_hot(owners, images.shape[0]).bool()
    positive = logits.gather(1, owners[:, None])[:, 0]
    negatives = logits.masked_fill(true | own, torch.finfo(logits.dtype).min)
    to_image = torch.logaddexp(positive, negatives.logsumexp(1)) - positive
    to_text = torch.logaddexp(positive, negatives.logsumexp(0)[owners]) - positive
    return 0.5 * (to_image.mean() + to_text.mean())
