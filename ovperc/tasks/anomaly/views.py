"""Augmented views of an image, over which AnoVL averages the image score."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ovperc.backbones.base import DenseBackbone

_GREY = (0.299, 0.587, 0.114)
_TURNS = tuple(k * math.pi / 16 for k in (-4, -3, -2, -1, 1, 2, 3, 4)) + tuple(k * math.pi / 2 for k in (1, 2, 3))
_SHIFTS = tuple((y * far, x * far) for far in (0.2, 0.1) for y in (1, -1) for x in (1, -1))
NUM_VIEWS = 3 + len(_TURNS) + len(_SHIFTS)


def image_views(images: Tensor) -> Tensor:
    """The image, 11 rotations, 8 shifts, the flipped image and the greyscale image; borders are reflected.

    Args:
        images: ``(B, 3, H, W)`` normalised; rotations shear non-square images, as they act on the unit square.

    Returns:
        ``(22, B, 3, H, W)``.
    """
    moves = [[[math.cos(t), -math.sin(t), 0.0], [math.sin(t), math.cos(t), 0.0]] for t in _TURNS]
    moves += [[[1.0, 0.0, x], [0.0, 1.0, y]] for y, x in _SHIFTS]
    grey = (images * images.new_tensor(_GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True).expand_as(images)
    moved = []
    for move in moves:
        places = F.affine_grid(images.new_tensor([move]), [1, *images.shape[1:]], align_corners=True)
        places = places.expand(len(images), -1, -1, -1)
        moved.append(F.grid_sample(images, places, padding_mode="reflection", align_corners=True))
    return torch.stack([images, *moved, images.flip(-1), grey])


def encode_views(backbone: DenseBackbone, images: Tensor, pooled: Tensor) -> Tensor:
    """Image embeddings of all views, ``(B, 22, E)``, not normalised, computed view by view.

    Views are separate images: AnoVL needs one tower pass for each, by definition.

    Args:
        backbone: the tower.
        images: ``(B, 3, H, W)`` normalised.
        pooled: ``(B, E)``, the embedding of the images themselves, which are the first view.
    """
    return torch.stack([pooled, *(backbone.encode_pooled(view) for view in image_views(images)[1:])], dim=1)
