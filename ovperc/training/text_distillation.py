"""Training of photo-mini's text tower: it learns to reproduce a sentence encoder."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import TextTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ovperc.data.photo.sentence_teacher import embed_sentences
from ovperc.data.photo.sentences import SentenceBatch
from ovperc.registry import MODELS
from ovperc.training.batch_model import BatchModel
from ovperc.weights.token_table import pack_factorised

TEACHER_DIM = 384


class FactorisedEmbedding(nn.Module):
    """A token table as the product of a narrow table and a matrix (ALBERT, Lan et al., 2020).

    Args:
        table: ``(V, r)`` initial narrow table.
        width: channels of an embedded token.
    """

    def __init__(self, table: Tensor, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(table)
        self.mix = nn.Linear(table.shape[1], width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(...)`` int64 -> ``(..., width)``."""
        return self.mix(F.embedding(tokens, self.table))


@MODELS.register_module()
class TextDistillation(BatchModel):
    """CLIP's text tower, taught to give each text the teacher's centred embedding.

    The loss is one minus the cosine, and the cross-entropy of finding the text's own target among those of the batch.
    The narrow token table begins as the teacher's embeddings of the tokens themselves, reduced by PCA.

    Args:
        width, heads, layers, mlp_ratio: of the tower.
        rank: channels of the narrow token table.
        contrast: weight of the cross-entropy.
        temperature: of the cross-entropy.
        cache: folder where the teacher's embeddings are kept.
    """

    def __init__(
        self,
        width: int = 256,
        heads: int = 4,
        layers: int = 4,
        mlp_ratio: float = 2.0,
        rank: int = 80,
        contrast: float = 0.1,
        temperature: float = 0.07,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.tower = TextTransformer(
            width=width, heads=heads, layers=layers, mlp_ratio=mlp_ratio, output_dim=TEACHER_DIM
        )
        table = torch.from_numpy(_principal_components(_token_embeddings(cache), rank))
        self.tower.token_embedding = FactorisedEmbedding(table, width)
        self.contrast, self.temperature = contrast, temperature

    def encode(self, tokens: Tensor) -> Tensor:
        """``(Q, L)`` int64, cut after the longest text -> ``(Q, 384)`` unit rows; equal to the full context."""
        tower, length = self.tower, tokens.shape[1]
        x = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
        x = tower.ln_final(x[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)])
        return F.normalize(x @ tower.text_projection, dim=-1)

    def forward(self, batch: SentenceBatch, mode: str = "loss") -> dict[str, Tensor] | Tensor:
        """The losses of a batch (``mode="loss"``), or its embeddings (``mode="tensor"``)."""
        device = self.tower.positional_embedding.device
        rows = self.encode(batch.tokens.to(device))
        if mode == "tensor":
            return rows
        if mode != "loss":
            raise ValueError(f"mode must be 'loss' or 'tensor'; got {mode!r}")
        similarity = rows @ batch.targets.to(device).T
        cosine = similarity.diagonal().mean()
        # equal targets (one text drawn twice) are right answers, too
        same = (batch.targets @ batch.targets.T).to(device) > 0.999
        own = torch.logsumexp((similarity / self.temperature).masked_fill(~same, -torch.inf), dim=1)
        contrast = (torch.logsumexp(similarity / self.temperature, dim=1) - own).mean()
        return {"loss_cosine": 1 - cosine, "loss_contrast": self.contrast * contrast, "cosine": cosine.detach()}

    def export_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tower out of a checkpoint's ``state_dict`` under open_clip's names, its token table packed."""
        tower = {name.removeprefix("tower."): value for name, value in state.items() if name.startswith("tower.")}
        table, mix = tower.pop("token_embedding.table"), tower.pop("token_embedding.mix.weight")
        packed = pack_factorised(table, mix, torch.tensor(english_tokens()))
        return {**{f"text.{name}": value for name, value in tower.items()}, **packed}


_ENGLISH = re.compile(r"('?[a-z]+|[!-~])(</w>)?|<.*>")


def english_tokens() -> list[int]:
    """Numbers of the tokens that English texts are made of: letters, single signs, and the start and end tokens."""
    return sorted(number for token, number in SimpleTokenizer().encoder.items() if _ENGLISH.fullmatch(token))


def _token_embeddings(cache: str | Path | None) -> np.ndarray:
    """The teacher's embeddings of all tokens of CLIP's vocabulary, ``(V, 384)``, by token number."""
    tokens = sorted(SimpleTokenizer().encoder.items(), key=lambda item: item[1])
    return embed_sentences([token.removesuffix("</w>") for token, _ in tokens], cache)


def _principal_components(rows: np.ndarray, rank: int) -> np.ndarray:
    """Scores on the first principal components, ``(V, rank)`` float32, scaled to a variance of 1 in the mean."""
    rows = rows - rows.mean(axis=0)
    _, directions = np.linalg.eigh(rows.T @ rows)
    scores = rows @ directions[:, ::-1][:, :rank]
    return (scores / scores.std()).astype(np.float32)
