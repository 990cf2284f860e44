"""What is traced: the towers of a segmenter as plain modules, tensors in, tensors out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from ovperc.backbones.text_tower import TextTower
    from ovperc.tasks.segmentation import DenseSegmenter


class ExportError(ValueError):
    """Something that has no exported form; the message says what does."""


class PatchEncoder(nn.Module):
    """Windows to unit patch embeddings: the part of a method that depends on the image only.

    Args:
        segmenter: a method without score rule and refiner, whose statistics would need all words at once.
    """

    def __init__(self, segmenter: DenseSegmenter) -> None:
        super().__init__()
        check_exportable(segmenter)
        self.backbone = segmenter.clip.backbone
        self.readout = segmenter.readout
        self._preprocess = segmenter.clip.preprocess
        self._proxy = segmenter.proxy
        # Named here so that its weights are found; the proxy itself is no module.
        self.proxy_backbone = None if segmenter.proxy is None else segmenter.proxy.backbone

    def forward(self, windows: Tensor) -> Tensor:
        """``(T, 3, h, w)`` float32, normalised and padded, to ``(T, E, grid h, grid w)`` float32."""
        features = self.backbone.forward_dense(windows, self.readout.taps(self.backbone))
        proxy = None if self._proxy is None else self._proxy.describe(windows, self._preprocess)
        return self.readout(self.backbone, features, proxy).patches


def check_exportable(segmenter: DenseSegmenter) -> None:
    """Refuses methods whose parts have no form in the graph.

    Raises:
        ExportError: naming the part.
    """
    if type(segmenter).__name__ != "DenseSegmenter":
        raise ExportError(f"methods built as {type(segmenter).__name__} have no exported form yet; choose another")
    if segmenter.tiler.whole_patches:
        raise ExportError("a tiler with whole_patches has no exported form yet; pass tiler.whole_patches=False")
    if segmenter.proxy is not None and segmenter.proxy.mean_over != "window":
        raise ExportError(
            "this second tower takes means over all windows of an image, which the graph encodes one by one; "
            "pass proxy.mean_over='window'"
        )
    if segmenter.score_rule is not None:
        name = type(segmenter.score_rule).__name__
        raise ExportError(
            f"the score rule {name} needs statistics over all words of an image and is not exported; "
            "choose a method without one (maskclip, sclip, clearclip, naclip, gem) or pass score_rule=None"
        )
    if segmenter.refiner is not None:
        name = type(segmenter.refiner).__name__
        raise ExportError(f"the refiner {name} works on full-size maps and is not exported; pass refiner=None")


def met_tokens(text: TextTower) -> Tensor:
    """Which tokens have an embedding that is not all zeros, ``(V,)`` bool: the others were never trained."""
    return text.tower.token_embedding.weight.detach().any(dim=1).cpu()


class TextGraph(nn.Module):
    """A CLIP text tower: token ids to unit embeddings.

    Rows of the token table that hold only zeros (tokens that the weights never met) are stored once.

    Args:
        text: the tower; its tokenizer must be CLIP's byte-pair encoding.
    """

    def __init__(self, text: TextTower) -> None:
        super().__init__()
        if not text.causal:
            raise ExportError(
                f"the text tower {type(text.tower).__name__} is not a causal CLIP tower and is not exported; "
                "bake the words in with --fixed-words"
            )
        self.tower = text.tower
        table = text.tower.token_embedding.weight.detach()
        met = met_tokens(text)
        self.register_buffer("rows", torch.cat([torch.zeros_like(table[:1]), table[met]]))
        self.register_buffer("row_of_token", torch.where(met, met.cumsum(0), 0).to(torch.int32))

    def forward(self, tokens: Tensor) -> Tensor:
        """``(N, L)`` int64 with ``L`` up to the context length, cut behind the last end token, to ``(N, E)``."""
        tower = self.tower
        # Positions by index and a mask by comparison: slices of the tables would fix the length when traced.
        places = torch.arange(tokens.shape[1], device=tokens.device)
        ahead = places[None, :] > places[:, None]
        mask = torch.zeros_like(ahead, dtype=self.rows.dtype).masked_fill(ahead, float("-inf"))
        rows = self.row_of_token[tokens].long()
        hidden = F.embedding(rows, self.rows) + tower.positional_embedding[places]
        hidden = tower.transformer(hidden, attn_mask=mask)
        ends = tokens.argmax(dim=-1) if tower.pool_type == "argmax" else (tokens == tower.eos_id).int().argmax(dim=-1)
        last = (places == ends[:, None]).to(hidden.dtype)
        pooled = tower.ln_final((last[:, None] @ hidden)[:, 0])
        if isinstance(tower.text_projection, nn.Linear):
            pooled = tower.text_projection(pooled)
        elif tower.text_projection is not None:
            pooled = pooled @ tower.text_projection
        return F.normalize(pooled.float(), dim=-1)
