"""CLIP-DINOiser: two small convolutions on CLIP's own features say what belongs together and where objects are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ovperc.backbones.base import DenseBackbone
from ovperc.core.naming import suggest
from ovperc.core.structures import DenseFeatures, GuideFeatures, Tap
from ovperc.readout.base import Readout, resize_tokens
from ovperc.registry import READOUTS
from ovperc.weights.catalogue import CATALOGUE, resolve_weights
from ovperc.weights.reading import CheckpointError, read_checkpoint

_KEYS = ("obj_proj.weight", "obj_proj.bias", "bkg_decoder.weight", "bkg_decoder.bias")


class DinoiserHeads(nn.Module):
    """The trained part, named as in the released ``last.pt``.

    Args:
        width: channels of the features it reads.
        channels: of the space in which patches are compared.
    """

    def __init__(self, width: int, channels: int = 256) -> None:
        super().__init__()
        self.width = width
        self.obj_proj = nn.Conv2d(width, channels, 3, padding=1, padding_mode="replicate")
        self.bkg_decoder = nn.Conv2d(width, 1, 1)

    def compared(self, maps: Tensor) -> Tensor:
        """The space in which patches are compared, not normalised, ``(B, D, h, w) -> (B, n, C)``."""
        return self.obj_proj(maps).flatten(2).transpose(1, 2)

    def similarity(self, maps: Tensor) -> Tensor:
        """Cosines between all patches, ``(B, D, h, w) -> (B, n, n)``."""
        unit = F.normalize(self.compared(maps), dim=-1)
        return unit @ unit.transpose(1, 2)

    def foreground(self, maps: Tensor) -> Tensor:
        """Logits of "some object is here", ``(B, D, h, w) -> (B, h, w)``."""
        return self.bkg_decoder(F.normalize(maps, dim=1))[:, 0]


def load_heads(weights: str | Path) -> DinoiserHeads:
    """Reads heads from a catalogue name or a file; keys beside the four are passed over.

    Args:
        weights: ``"dinoiser-mini"``, ``"clip-dinoiser"`` (the released ``last.pt``), or a file of the same keys.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: there is no such file.
        CheckpointError: the file lacks a key.
    """
    name = str(weights)
    rows = {entry.name: entry for entry in CATALOGUE if entry.family == "heads"}
    path = resolve_weights(name) if name in rows else Path(name).expanduser()
    if not path.is_file():
        if path.suffix:
            raise FileNotFoundError(f"there is no weights file {name}")
        raise ValueError(f"unknown weights {name!r}: neither a file nor a name; {suggest(name, rows)}")
    return heads_of(read_checkpoint(path), name)


def heads_of(state: Mapping[str, Tensor], source: str) -> DinoiserHeads:
    """Heads at the sizes of a table, filled from it."""
    missing = [key for key in _KEYS if key not in state]
    if missing:
        raise CheckpointError(f"{source} holds no heads of CLIP-DINOiser: there is no {missing[0]}")
    channels, width = state["obj_proj.weight"].shape[:2]
    heads = DinoiserHeads(width, channels)
    heads.load_state_dict({key: state[key].float() for key in _KEYS})
    return heads.eval()


@READOUTS.register_module()
class DinoiserReadout(Readout):
    """Embeddings averaged by a learned affinity (Wysoczanska et al., ECCV 2024, eq. 3 and 6).

    With ``c_ij`` the cosine of ``obj_proj`` of patches ``i, j``, set to 0 below ``gamma``::

        v_i <- sum_j c_ij v_j / (sum_j c_ij + 1e-6)

    on embeddings that are not normalised. ``obj_proj`` and ``bkg_decoder`` read the normalised input of the
    feed-forward part two blocks before the last.

    Args:
        weights: a name or file, see :func:`load_heads`.
        heads: built heads, in place of ``weights``.
        gamma: similarities below it count nothing.
        layer: block that the heads read.
        values: where the embeddings come from, on the tower's grid; left out, MaskCLIP's, as published.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        heads: DinoiserHeads | None = None,
        gamma: float = 0.2,
        layer: int = -3,
        values: Readout | dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if (weights is None) == (heads is None):
            raise ValueError("DinoiserReadout needs either weights (a name or a file) or built heads")
        self.heads = load_heads(weights) if heads is None else heads
        self.values: Readout = READOUTS.build(values or {"type": "BlockReadout", "affinity": {"type": "Identity"}})
        self.gamma = gamma
        self.layer = layer

    def own_taps(self, backbone: DenseBackbone) -> list[Tap]:
        """Those of the embeddings, and what the heads read.

        Raises:
            ValueError: the heads were trained on a tower of another width.
        """
        if backbone.width != self.heads.width:
            raise ValueError(
                f"these heads read features of width {self.heads.width}, the tower has {backbone.width}; use heads "
                "that were trained on it (configs/train/clip_dinoiser.py)"
            )
        return [*self.values.own_taps(backbone), Tap(self.layer, "ln_2")]

    def tokens(self, backbone: DenseBackbone, features: DenseFeatures, guide: GuideFeatures | None) -> Tensor:
        """Those of the embeddings, before they are averaged."""
        return self.values.tokens(backbone, features, guide)

    def embed(self, backbone: DenseBackbone, features: DenseFeatures, guide: GuideFeatures | None) -> Tensor:
        """Pooled embeddings, ``(B, n, E)``."""
        values = self.values.embed(backbone, features, guide).float()
        weights = self.heads.similarity(self._maps(features))
        weights = weights.masked_fill_(weights < self.gamma, 0.0)
        return (weights @ values) / (weights.sum(dim=-1, keepdim=True) + 1e-6)

    def foreground(self, features: DenseFeatures) -> Tensor:
        """``bkg_decoder``'s logits, ``(B, h, w)``."""
        return self.heads.foreground(self._maps(features))

    def _maps(self, features: DenseFeatures) -> Tensor:
        patches = features.patches(Tap(self.layer, "ln_2")).float()
        return patches.transpose(1, 2).unflatten(2, features.grid_hw)


@READOUTS.register_module()
class DinoiserAffinityReadout(DinoiserReadout):
    """The heads' space in the place of a second tower: another readout takes its affinity from it.

    Not the published readout. It serves towers whose patches speak through the residual stream: with a
    ``DualPathReadout`` of a ``GuideAffinity`` inside, the learned affinity acts where CLIP Surgery has v-v attention.

    Args:
        readout: a readout whose affinity needs a guide.
        zoom: the heads' space is resized (bilinear) to a grid finer by this factor, and so are the rows that come out.
        **settings: ``weights``, ``heads`` and ``layer`` as for :class:`DinoiserReadout`.

    Raises:
        ValueError: a zoom below 1.
    """

    def __init__(self, readout: Readout | dict[str, Any], zoom: int = 1, **settings: Any) -> None:
        super().__init__(values=readout, **settings)
        if zoom < 1:
            raise ValueError(f"zoom is a whole factor of at least 1; got {zoom}")
        self.zoom = zoom

    def output_grid(self, features: DenseFeatures, guide: GuideFeatures | None) -> tuple[int, int]:
        """The heads'."""
        return features.grid_hw[0] * self.zoom, features.grid_hw[1] * self.zoom

    def tokens(self, backbone: DenseBackbone, features: DenseFeatures, guide: GuideFeatures | None) -> Tensor:
        """Those of the inner readout, on the heads' grid."""
        return self.values.tokens(backbone, features, self.describe(features))

    def embed(self, backbone: DenseBackbone, features: DenseFeatures, guide: GuideFeatures | None) -> Tensor:
        """Those of the inner readout, ``(B, m, E)``."""
        return self.values.embed(backbone, features, self.describe(features))

    def describe(self, features: DenseFeatures) -> GuideFeatures:
        """What the heads say of tiles, as a second tower would."""
        grid_hw = self.output_grid(features, None)
        space = resize_tokens(self.heads.compared(self._maps(features)), features.grid_hw, grid_hw)
        unit = F.normalize(space, dim=-1)
        return GuideFeatures(unit, grid_hw, unit.mean(dim=1).square().sum(dim=-1))
