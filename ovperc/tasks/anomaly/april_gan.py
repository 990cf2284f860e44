"""APRIL-GAN: linear adapters that project patch tokens to the joint space (Chen et al., VAND challenge 2023)."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ovperc.backbones.base import POOLED, DenseBackbone
from ovperc.core.structures import Tap
from ovperc.tasks.anomaly.head import HEADS, AnomalyHead, HeadFeatures, HeadScores, margins, to_grid
from ovperc.tasks.anomaly.head_weights import head_weights_file
from ovperc.tasks.anomaly.map_upsampler import Combine
from ovperc.tasks.anomaly.patch_bank import PatchBank, fill_banks
from ovperc.tasks.anomaly.state_texts import StateTexts
from ovperc.weights.reading import CheckpointError, read_checkpoint

_LAYER = re.compile(r"fc\.(\d+)\.(weight|bias)")


class LinearAdapters(nn.Module):
    """``e_l = W_l x^l + b_l`` for each tap, under the names of the released checkpoints (``fc.0.weight``, ...).

    Args:
        width: token width of the tower.
        embed_dim: width of the joint space.
        count: number of taps.
    """

    def __init__(self, width: int, embed_dim: int, count: int) -> None:
        super().__init__()
        self.fc = nn.ModuleList(nn.Linear(width, embed_dim) for _ in range(count))

    def forward(self, streams: Sequence[Tensor]) -> list[Tensor]:
        """Maps ``(B, n, D)`` of each tap to ``(B, n, E)`` float32, not normalised."""
        return [layer(stream.float()) for layer, stream in zip(self.fc, streams, strict=True)]

    @classmethod
    def from_table(cls, table: Mapping[str, Tensor], source: str = "the file") -> LinearAdapters:
        """Builds the module from a state dict; sizes are inferred from the shapes.

        Raises:
            CheckpointError: tensors are missing, unexpected or of inconsistent shapes.
        """
        unknown = [name for name in table if not _LAYER.fullmatch(name)]
        count = len(table) // 2
        wanted = {f"fc.{layer}.{part}" for layer in range(count) for part in ("weight", "bias")}
        if unknown or not count or set(table) != wanted:
            raise CheckpointError(f"{source} has no linear adapters fc.0.weight, fc.0.bias, ...: {sorted(table)[:4]}")
        embed_dim, width = table["fc.0.weight"].shape
        adapters = cls(width, embed_dim, count)
        try:
            adapters.load_state_dict({name: value.float() for name, value in table.items()})
        except RuntimeError as error:
            raise CheckpointError(f"{source}: inconsistent adapter shapes: {error}") from error
        return adapters.requires_grad_(False)

    @classmethod
    def from_file(cls, source: str | Path) -> LinearAdapters:
        """Loads the authors' ``.pth`` (``{"trainable_linearlayer": ...}``) or safetensors.

        Raises:
            FileNotFoundError: no such file.
            CheckpointError: the file contains no adapters.
        """
        return cls.from_table(read_checkpoint(head_weights_file(source, "adapters")), str(source))


@HEADS.register_module()
class AprilGanHead(AnomalyHead):
    """Compares adapted tokens of several blocks with the text embeddings and, once fitted, with normal images.

    Scores are logits, one map per tap: the upsampler upsamples them before the sigmoid, as the authors do, and averages
    the taps (the authors sum them). Once fitted, probabilities and distances to the nearest normal patch are averaged
    on the patch grid, and the image score is the mean of the global score and the largest distance. (The authors
    normalise that maximum by the minimum and maximum over the test set, which is unknown for a single image.)

    Args:
        adapters: adapter file or module.
        taps: blocks to read, one per adapter.
        scale: logit scale of the cosines.
    """

    combine: Combine = "sigmoid_mean"

    def __init__(
        self,
        adapters: str | Path | LinearAdapters | None = None,
        taps: Sequence[int] = (5, 11, 17, 23),
        scale: float = 100.0,
    ) -> None:
        super().__init__()
        if adapters is None:
            raise ValueError(
                "APRIL-GAN needs trained adapters: pass **{'head.adapters': FILE}, such as the authors' "
                "*_pretrained.pth or a file from 'ovperc train configs/train/april_gan_mini.py'"
            )
        self.adapters = adapters if isinstance(adapters, LinearAdapters) else LinearAdapters.from_file(adapters)
        if len(self.adapters.fc) != len(taps):
            raise ValueError(f"got {len(self.adapters.fc)} adapters for {len(taps)} taps; set head.taps")
        self.blocks, self.scale = tuple(taps), scale
        self.banks: tuple[PatchBank, ...] = ()

    def taps(self) -> list[Tap]:
        """Outputs of the blocks, and the image embedding."""
        return [*(Tap(layer, "out") for layer in self.blocks), POOLED]

    def fit(self, backbone: DenseBackbone, normal: Iterable[HeadFeatures]) -> AprilGanHead:
        """See :class:`AnomalyHead`; the banks store the tower's unadapted tokens."""
        fitted = copy.copy(self)
        fitted.banks = fill_banks(map(self._streams, normal))
        fitted.combine = "mean"
        return fitted

    def score(self, backbone: DenseBackbone, features: HeadFeatures, texts: StateTexts | None) -> HeadScores:
        """See :class:`AnomalyHead`.

        Raises:
            ValueError: the adapters belong to another tower.
        """
        streams = self._streams(features)
        width, wanted = streams[0].shape[-1], self.adapters.fc[0].in_features
        if width != wanted:
            raise ValueError(f"the adapters expect token width {wanted}, the tower has {width}; use matching weights")
        each = [margins(tokens, texts, 1 / self.scale) for tokens in self.adapters(streams)]
        whole = margins(features.dense[POOLED], texts, 1 / self.scale).sigmoid()
        if not self.banks:
            return HeadScores(torch.cat([to_grid(one, features.grid_hw) for one in each], dim=1), whole)
        memory = torch.stack([bank.distances(one) for bank, one in zip(self.banks, streams, strict=True)]).mean(dim=0)
        patches = torch.stack(each).sigmoid().mean(dim=0)
        image = 0.5 * (whole + memory.amax(dim=-1))
        return HeadScores(to_grid(0.5 * (patches + memory), features.grid_hw), image)

    def _streams(self, features: HeadFeatures) -> list[Tensor]:
        return [features.dense.patches(Tap(layer, "out")) for layer in self.blocks]
