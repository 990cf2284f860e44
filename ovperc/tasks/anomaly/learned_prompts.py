"""AnomalyCLIP's learned object-agnostic prompts, one normal and one anomalous."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovperc.backbones.text_tower import TextTower
from ovperc.tasks.anomaly.deep_text import encode_vectors
from ovperc.tasks.anomaly.head_weights import head_weights_file
from ovperc.tasks.anomaly.state_texts import StateTexts, StateTextSource
from ovperc.weights.reading import CheckpointError, read_checkpoint

NORMAL, ABNORMAL = "object.", "damaged object."
"""Words after the learned context of each prompt (Zhou et al., ICLR 2024, section 3.2)."""
_REBUILT = re.compile(r"(token_prefix|token_suffix|tokenized_prompts)_(pos|neg)")
_DEAD = re.compile(r"compound_prompt_projections\.\d+\.(weight|bias)")
_DEEP = re.compile(r"compound_prompts_text\.(\d+)")
_SCALE = 0.02


class LearnedPrompts(nn.Module):
    """The learned vectors, with the parameter names of the released checkpoints.

    Args:
        width: token width of the text tower.
        contexts: vectors before the words of each prompt (12 in the paper).
        depth: blocks with learned vectors at their input, including the first (9 in the paper).
        deep_length: learned vectors at each later block (4 in the paper), at most ``contexts``.
    """

    def __init__(self, width: int, contexts: int = 12, depth: int = 9, deep_length: int = 4) -> None:
        super().__init__()
        if min(width, contexts, depth, deep_length) < 1 or deep_length > contexts:
            raise ValueError(
                "width, contexts, depth and deep_length must be at least 1, and deep_length at most contexts; got "
                f"{width}, {contexts}, {depth} and {deep_length}"
            )
        self.ctx_pos = nn.Parameter(_SCALE * torch.randn(1, 1, contexts, width))
        self.ctx_neg = nn.Parameter(_SCALE * torch.randn(1, 1, contexts, width))
        self.compound_prompts_text = nn.ParameterList(
            [nn.Parameter(_SCALE * torch.randn(deep_length, width)) for _ in range(depth - 1)]
        )

    def encode(self, tower: TextTower) -> Tensor:
        """Encodes the two prompts, ``(2, E)`` float32 unit rows: normal, anomalous.

        A prompt consists of the begin token, the learned vectors, the words and the end token.

        Raises:
            ValueError: the text tower has another width, is not causal, or has too few blocks or positions.
        """
        inner: Any = tower.tower
        contexts = self.ctx_pos.shape[2]
        width = inner.token_embedding.weight.shape[1]
        if self.ctx_pos.shape[-1] != width:
            raise ValueError(f"prompts have width {self.ctx_pos.shape[-1]}, the tower {width}; use matching weights")
        tokens = tower.tokenize([" ".join(["X"] * contexts + [words]) for words in (NORMAL, ABNORMAL)])
        tokens = tokens.to(inner.token_embedding.weight.device)
        embedded = inner.token_embedding(tokens)
        learned = torch.cat([self.ctx_pos[0], self.ctx_neg[0]]).to(embedded.dtype)
        rows = torch.cat([embedded[:, :1], learned, embedded[:, 1 + contexts :]], dim=1)
        ends = tokens.argmax(dim=-1)
        deep = [vectors.half().to(vectors.dtype) for vectors in self.compound_prompts_text]  # as the reference does
        return F.normalize(encode_vectors(tower, rows, ends, deep).float(), dim=-1)

    @classmethod
    def from_table(cls, table: Mapping[str, Tensor], source: str = "the file") -> LearnedPrompts:
        """Builds the module from a state dict; sizes are inferred from the shapes.

        Unused weights of the reference (``compound_prompt_projections``) and embeddings that the tokenizer provides are
        dropped.

        Raises:
            CheckpointError: tensors are missing, unexpected or of inconsistent shapes.
        """
        kept = {name: value for name, value in table.items() if not _REBUILT.fullmatch(name)}
        kept = {name: value for name, value in kept.items() if not _DEAD.fullmatch(name)}
        absent = {"ctx_pos", "ctx_neg"} - set(kept)
        unknown = [name for name in kept if name not in ("ctx_pos", "ctx_neg") and not _DEEP.fullmatch(name)]
        if absent or unknown:
            problem = f"{min(absent)} is missing" if absent else f"{unknown[0]} is unknown"
            raise CheckpointError(f"{source} contains no AnomalyCLIP prompts: {problem}")
        deep = sorted(int(match[1]) for match in map(_DEEP.fullmatch, kept) if match)
        shape = kept["ctx_pos"].shape
        if kept["ctx_pos"].ndim != 4 or shape[:2] != (1, 1) or deep != list(range(len(deep))):
            raise CheckpointError(f"{source}: prompts must be (1, 1, contexts, width) with deep tokens 0, 1, ...")
        length = kept["compound_prompts_text.0"].shape[0] if deep else 1
        with torch.random.fork_rng(devices=[]):
            prompts = cls(shape[-1], shape[2], len(deep) + 1, length)
        try:
            prompts.load_state_dict({name: value.float() for name, value in kept.items()})
        except RuntimeError as error:
            raise CheckpointError(f"{source}: inconsistent prompt shapes: {error}") from error
        return prompts.requires_grad_(False)

    @classmethod
    def from_file(cls, source: str | Path) -> LearnedPrompts:
        """Loads prompts from a file, or bundled prompts by name (``"anomalyclip-mini"``).

        Args:
            source: the authors' ``.pth`` (``{"prompt_learner": ...}``), or safetensors.

        Raises:
            FileNotFoundError: there is no such file or name.
            CheckpointError: the file contains no prompts.
        """
        return cls.from_table(read_checkpoint(head_weights_file(source, "prompts")), str(source))


class PromptTexts(StateTextSource):
    """Text embeddings of learned prompts, which are the same for every object and encoded once.

    Args:
        tower: text tower that belongs to the image tower.
        prompts: the learned vectors.
    """

    def __init__(self, tower: TextTower, prompts: LearnedPrompts) -> None:
        super().__init__()
        self.tower = tower
        self.prompts = prompts

    def key(self, object_name: str) -> str:
        """One entry for all objects."""
        return ""

    def make(self, object_name: str) -> StateTexts:
        """See :class:`StateTextSource`."""
        normal, anomalous = self.prompts.to(self.tower.device).encode(self.tower)
        return StateTexts(normal, anomalous, normal.new_empty(0, normal.shape[-1]))
