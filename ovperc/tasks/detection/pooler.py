"""RoI pooling over a pyramid with any strides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from ovperc.core.boxes import box_sides


class FPNRoIPooler(nn.Module):
    """RoIAlign (He et al., ICCV 2017; half-pixel aligned) from the level that suits each box.

    Level ``floor(log2(sqrt(area) / finest_px))``, kept within the pyramid; boxes up to twice ``finest_px`` are read at
    the finest one. Unlike torchvision's pooler, strides are given, not guessed from the first batch as powers of two.

    Args:
        strides: pixels per cell of each level, finest first.
        output_size: side of the pooled squares.
        finest_px: box side from which levels are counted.
        sampling: points per bin on each axis; 0 or less adapts to the box.
    """

    def __init__(self, strides: Sequence[float], output_size: int, finest_px: float = 56.0, sampling: int = 2) -> None:
        super().__init__()
        if output_size < 1 or finest_px <= 0:
            raise ValueError(f"output_size and finest_px must be positive; got {output_size} and {finest_px}")
        self.strides = tuple(float(stride) for stride in strides)
        self.output_size = output_size
        self.finest_px = finest_px
        self.sampling = sampling

    def levels(self, boxes: Tensor) -> Tensor:
        """Level of each box, ``(R, 4) -> (R,)`` int64."""
        side = box_sides(boxes).prod(dim=1).clamp(min=1e-6).sqrt()
        level = torch.floor(torch.log2(side / self.finest_px + 1e-6))
        return level.clamp(0, len(self.strides) - 1).long()

    def forward(self, pyramid: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Pools the boxes of every image.

        Args:
            pyramid: levels ``(B, C, h_i, w_i)``.
            boxes: one ``(R_i, 4)`` per image, pixels of the network's input.

        Returns:
            ``(sum of R_i, C, s, s)``, image by image in order.
        """
        image_of = torch.cat([part.new_full((len(part), 1), index) for index, part in enumerate(boxes)])
        rows = torch.cat([image_of, torch.cat(list(boxes))], dim=1)
        levels = self.levels(rows[:, 1:])
        size = (self.output_size, self.output_size)
        pooled = pyramid[0].new_zeros((len(rows), pyramid[0].shape[1], *size))
        for index, (maps, stride) in enumerate(zip(pyramid, self.strides, strict=True)):
            mine = (levels == index).nonzero().flatten()
            part = roi_align(maps, rows[mine].to(maps.dtype), size, 1 / stride, self.sampling, aligned=True)
            pooled = pooled.index_copy(0, mine, part)
        return pooled
