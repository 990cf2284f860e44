"""Where weights may already lie: ovperc's own folder, and what CLIP, torch and the Hugging Face hub leave behind.

Environment variables are read at every call, so that a change takes effect at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_OFFLINE_VARIABLES = ("OVPERC_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def home() -> Path:
    """ovperc's folder: ``OVPERC_HOME``, or ``ovperc`` in the cache folder."""
    return _folder("OVPERC_HOME") or _cache_root() / "ovperc"


def weights_folder() -> Path:
    """Where downloaded weights are kept and looked for."""
    return home() / "weights"


def offline() -> bool:
    """Whether ``OVPERC_OFFLINE``, ``HF_HUB_OFFLINE`` or ``TRANSFORMERS_OFFLINE`` forbids any download."""
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in _OFFLINE_VARIABLES)


def own_folders() -> tuple[Path, Path]:
    """Folders of ovperc in which users put weights."""
    return weights_folder(), home()


def file_folders() -> tuple[Path, ...]:
    """Folders that hold single weights files under their publishers' names, ovperc's first."""
    torch_home = _folder("TORCH_HOME") or _cache_root() / "torch"
    user_cache = Path.home() / ".cache"
    folders = [*own_folders(), _cache_root() / "clip", user_cache / "clip", torch_home / "hub" / "checkpoints"]
    return tuple(dict.fromkeys(folders))


def hub_cache() -> Path:
    """The Hugging Face hub's cache: ``HF_HUB_CACHE``, or ``hub`` in ``HF_HOME``, or its place in the cache folder."""
    hub_home = _folder("HF_HOME") or _cache_root() / "huggingface"
    return _folder("HF_HUB_CACHE") or _folder("HUGGINGFACE_HUB_CACHE") or hub_home / "hub"


def find_file(names: Iterable[str]) -> Path | None:
    """The first of the names that lies in one of :func:`file_folders`; earlier folders win."""
    names = tuple(names)
    candidates = (folder / name for folder in file_folders() for name in names)
    return next((path for path in candidates if path.is_file()), None)


def repository_folders(repo: str) -> Iterator[Path]:
    """Folders that may hold a hub repository: downloaded by ovperc, copied by hand, or the hub's snapshot of ``main``.

    Args:
        repo: ``owner/name``.
    """
    name = repo.rpartition("/")[2]
    for folder in own_folders():
        yield from (folder / repo, folder / name)
    cached = hub_cache() / f"models--{repo.replace('/', '--')}"
    main = cached / "refs" / "main"
    if main.is_file():
        yield cached / "snapshots" / main.read_text(encoding="utf-8").strip()
    else:
        yield from sorted((cached / "snapshots").glob("*"))


def _cache_root() -> Path:
    return _folder("XDG_CACHE_HOME") or Path.home() / ".cache"


def _folder(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None
