"""The text side of a dual encoder: words to tokens, tokens to embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Tokenizer = Callable[[list[str]], Tensor]


class ClipText(nn.Module):
    """The text parts that open_clip's ``CLIP`` class keeps on the model itself, gathered as one module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.transformer = model.transformer
        self.token_embedding = model.token_embedding
        self.positional_embedding = model.positional_embedding
        self.ln_final = model.ln_final
        self.text_projection = model.text_projection
        self.register_buffer("attn_mask", model.attn_mask, persistent=False)
        self.pool_type = model.text_pool_type
        self.eos_id = model.text_eos_id
        self.context_length = model.context_length


class TextTower(nn.Module):
    """open_clip's text tower, run only as far as the prompts reach.

    A causal tower that reads the end token never sees what stands after it, so a batch is cut at its longest end
    token: exact, and 5-8 times less work for short prompts. Other towers (SigLIP's, Hugging Face's) get the full
    context.

    Args:
        model: an open_clip ``CLIP`` or ``CustomTextCLIP``.
        tokenizer: open_clip's tokenizer of that model.

    Attributes:
        context_length: tokens of a prompt, begin and end token included.
        embed_dim: channels ``E`` of the joint space.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tower = model.text if hasattr(model, "text") else ClipText(model)
        self.tokenizer = tokenizer
        places = int(getattr(self.tower, "context_length", 0) or tokenizer.context_length)
        self.context_length = min(places, int(getattr(tokenizer, "context_length", 0) or places))
        with torch.no_grad():
            self.embed_dim = self._encode_full(self.tokenize(["a"]).to(self.device)).shape[-1]

    @property
    def device(self) -> torch.device:
        """Device of the tower's weights."""
        return next(self.tower.parameters()).device

    @property
    def causal(self) -> bool:
        """Whether tokens after the end token cannot change the embedding."""
        tower = self.tower
        return (
            getattr(tower, "attn_mask", None) is not None
            and getattr(tower, "cls_emb", None) is None
            and getattr(tower, "pool_type", None) in ("argmax", "eos")
        )

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids ``(Q, L)`` int64 over the full context.

        Raises:
            TypeError: for a prompt that is not a string.
            ValueError: for no prompt, or for a prompt that does not fit the context; nothing is cut silently.
        """
        if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
            raise TypeError("prompts must be a list of strings")
        if not prompts:
            raise ValueError("there is no prompt to tokenize")
        tokens = self.tokenizer(list(prompts)).long()
        for row in _full_rows(tokens, self.tokenizer):
            needed = _count_tokens(prompts[row], self.tokenizer)
            if needed > self.context_length:
                raise ValueError(
                    f"prompt {_shorten(prompts[row])} needs {needed} tokens with begin and end, the tower reads "
                    f"{self.context_length}; use fewer words"
                )
        return tokens

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Text embeddings.

        Args:
            tokens: ``(Q, L)`` int64, as :meth:`tokenize` gives them.

        Returns:
            ``(Q, E)`` in the tower's dtype, not normalised.
        """
        return self._encode_causal(tokens) if self.causal else self._encode_full(tokens)

    def _encode_full(self, tokens: Tensor) -> Tensor:
        if isinstance(self.tower, ClipText):
            return self._encode_causal(tokens)
        answer = self.tower(tokens)
        return answer[0] if isinstance(answer, tuple) else answer

    def encode_each(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Every token in the joint space, for losses that compare words.

        Args:
            tokens: ``(Q, L)`` int64, as :meth:`tokenize` gives them.

        Returns:
            ``(Q, l, E)`` in the tower's dtype, not normalised, up to the longest end token; and ``(Q, l)`` bool, true
            after the begin token up to the end token.

        Raises:
            ValueError: the tower is not causal, so that tokens after the end would change the others.
        """
        if not self.causal and not isinstance(self.tower, ClipText):
            raise ValueError("words are read from causal text towers (CLIP's); this one is another")
        hidden, ends = self._hidden(tokens)
        places = torch.arange(hidden.shape[1], device=tokens.device)
        return self._project(hidden), (places > 0) & (places <= ends[:, None])

    def _encode_causal(self, tokens: Tensor) -> Tensor:
        hidden, ends = self._hidden(tokens)
        return self._project(hidden[torch.arange(len(tokens), device=tokens.device), ends])

    def _hidden(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states up to the longest end token ``(Q, l, D)``, and where each text ends ``(Q,)``."""
        tower = self.tower
        ends = _end_positions(tokens, tower.pool_type, tower.eos_id)
        length = int(ends.max()) + 1 if self.causal else tokens.shape[1]
        hidden = tower.token_embedding(tokens[:, :length])
        hidden = hidden + tower.positional_embedding[:length].to(hidden.dtype)
        mask = None if tower.attn_mask is None else tower.attn_mask[:length, :length]
        return tower.transformer(hidden, attn_mask=mask), ends

    def _project(self, hidden: Tensor) -> Tensor:
        tower = self.tower
        pooled = tower.ln_final(hidden)
        if isinstance(tower.text_projection, nn.Linear):
            return tower.text_projection(pooled)
        return pooled if tower.text_projection is None else pooled @ tower.text_projection


def _end_positions(tokens: Tensor, pool_type: str, eos_id: int) -> Tensor:
    """Where each row is pooled: its first or last place, the highest id (CLIP's end token), or ``eos_id``; ``(Q,)``."""
    if pool_type in ("first", "last"):
        return tokens.new_full(tokens.shape[:1], 0 if pool_type == "first" else tokens.shape[1] - 1)
    return tokens.argmax(dim=-1) if pool_type == "argmax" else (tokens == eos_id).int().argmax(dim=-1)


def _full_rows(tokens: Tensor, tokenizer: Tokenizer) -> list[int]:
    """Rows whose last place is not padding: only these can have been cut."""
    inner = getattr(tokenizer, "tokenizer", None)
    padding = getattr(inner, "pad_token_id", None) or 0
    return torch.nonzero(tokens[:, -1] != padding).flatten().tolist()


def _count_tokens(prompt: str, tokenizer: Tokenizer) -> int:
    """Tokens that the whole prompt needs, special tokens included."""
    cleaned = tokenizer.clean_fn(prompt)
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is not None:
        return len(inner(cleaned).input_ids)
    return len(tokenizer.encode(cleaned)) + 2


def _shorten(prompt: str, limit: int = 60) -> str:
    return repr(prompt if len(prompt) <= limit else prompt[:limit] + "...")


def tokenizer_name(tokenizer: Tokenizer) -> str:
    """Identifies a tokenizer in a fingerprint: its class, vocabulary and context."""
    inner = getattr(tokenizer, "tokenizer", None)
    vocabulary = getattr(inner, "name_or_path", None) or getattr(tokenizer, "vocab_size", "")
    return f"{type(tokenizer).__name__}:{vocabulary}:{tokenizer.context_length}"
