"""Unlabelled image folders, for self-supervised training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from ovperc.io.images import read_image
from ovperc.registry import DATASETS

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@DATASETS.register_module()
class PictureFolder(Dataset):
    """Random square crops of the images below a folder.

    An image is resized to ``size_px`` on its short side (bilinear, no antialiasing), cropped to a random square,
    flipped with probability 0.5 and changed in brightness. Wrap it in ``SeededDataset`` for reproducible runs.

    Args:
        root: image folder, searched recursively.
        size_px: side of the crops.
        sample: draw this many images once, with replacement; None uses each once.
        seed: seed of that draw.
        brightness: maximum relative change.

    Raises:
        FileNotFoundError: there are no images below the folder.
    """

    def __init__(
        self, root: str | Path, size_px: int = 448, sample: int | None = None, seed: int = 0, brightness: float = 0.5
    ) -> None:
        root = Path(root).expanduser()
        files = sorted(path for path in root.rglob("*") if path.suffix.lower() in _SUFFIXES)
        if not files:
            raise FileNotFoundError(f"there are no images ({', '.join(_SUFFIXES)}) below {root}")
        if sample is not None:
            picks = np.random.default_rng(seed).integers(0, len(files), sample)
            files = [files[int(pick)] for pick in picks]
        self.files = files
        self.size_px = size_px
        self.brightness = brightness

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        """``(3, S, S)`` float32 in 0..1."""
        picture = torch.from_numpy(read_image(self.files[int(index)])).permute(2, 0, 1)[None].float() / 255
        height, width = picture.shape[-2:]
        factor = self.size_px / min(height, width)
        size = [max(self.size_px, round(side * factor)) for side in (height, width)]
        picture = F.interpolate(picture, size, mode="bilinear", align_corners=False)[0]
        top, left = (int(torch.randint(side - self.size_px + 1, ())) for side in size)
        picture = picture[:, top : top + self.size_px, left : left + self.size_px]
        if torch.rand(()) < 0.5:
            picture = picture.flip(-1)
        light = 1 + self.brightness * (2 * torch.rand(()) - 1)
        return (picture * light).clamp(0, 1).contiguous()
