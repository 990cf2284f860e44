"""Repositories of the Hugging Face hub: found on this machine first, fetched with the hub's own client otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ovperc.weights.caches import hub_cache, offline, repository_folders
from ovperc.weights.errors import MissingWeightsError
from ovperc.weights.shards import INDEX_SUFFIX, shard_names

PREFIX = "hf-hub:"
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)
SIDE_FILES = ("open_clip_config.json", "config.json", "preprocessor_config.json")
TOKENIZER_FILES = (
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz")


def weights_in(folder: Path, names: Sequence[str] = ()) -> Path | None:
    """The weights file of a folder: one of the names, of the usual ones, or the only one there is.

    Args:
        folder: may be absent.
        names: looked for first.
    """
    usual = next((folder / name for name in (*names, *WEIGHT_FILES) if (folder / name).is_file()), None)
    if usual is not None or not folder.is_dir():
        return usual
    others = [path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file()]
    return others[0] if len(others) == 1 else None


def find_repository(repo: str, names: Sequence[str] = ()) -> Path | None:
    """The weights file of a repository that is on this machine."""
    found = (weights_in(folder, names) for folder in repository_folders(repo))
    return next((path for path in found if path is not None), None)


def find_side_folder(repo: str, names: Sequence[str] = TOKENIZER_FILES) -> Path | None:
    """A folder on this machine that holds one of the small files of a repository, such as its tokenizer."""
    folders = (folder for folder in repository_folders(repo) if any((folder / name).is_file() for name in names))
    return next(folders, None)


def fetch_repository(repo: str, names: Sequence[str] = (), *, folder: Path | None = None) -> Path:
    """Fetches one weights file of a repository and the small files that explain it.

    Args:
        repo: ``owner/name``.
        names: weights files to prefer over the usual ones.
        folder: left out, the hub's cache; else the files are written here.

    Returns:
        The weights file.

    Raises:
        MissingWeightsError: offline, no such repository, or one without weights.
    """
    from huggingface_hub import list_repo_files

    hint = f"get https://huggingface.co/{repo}, its weights and JSON files, and pass the folder as weights"
    if offline():
        raise MissingWeightsError(f"{PREFIX}{repo} is not on this machine (downloads are switched off); {hint}")
    try:
        listed = set(list_repo_files(repo))
        name = next((name for name in (*names, *WEIGHT_FILES) if name in listed), None)
        if name is None:
            raise FileNotFoundError(f"the repository holds none of {', '.join(WEIGHT_FILES)}")
        for side in sorted(listed.intersection((*SIDE_FILES, *TOKENIZER_FILES))):
            _fetch_file(repo, side, folder)
        path = _fetch_file(repo, name, folder)
        for shard in shard_names(path) if name.endswith(INDEX_SUFFIX) else ():
            _fetch_file(repo, shard, folder)
        return path
    except Exception as error:  # the hub's client raises many types, all meaning: no file
        raise MissingWeightsError(f"{PREFIX}{repo} could not be fetched ({error}); {hint}") from error


def fetch_side_files(repo: str, names: Sequence[str], *, folder: Path | None = None) -> Path:
    """Fetches those of the small files that a repository has, into the hub's cache or a folder; returns where they are.

    Raises:
        MissingWeightsError: offline, or none of them could be fetched.
    """
    from huggingface_hub import list_repo_files

    hint = f"get {', '.join(names)} from https://huggingface.co/{repo} and put them next to the weights"
    if offline():
        raise MissingWeightsError(f"{repo} is not on this machine (downloads are switched off); {hint}")
    try:
        present = sorted(set(list_repo_files(repo)).intersection(names))
        return [_fetch_file(repo, name, folder) for name in present][-1].parent
    except Exception as error:  # as above
        raise MissingWeightsError(f"{repo} could not be fetched ({error}); {hint}") from error


def _fetch_file(repo: str, name: str, folder: Path | None) -> Path:
    from huggingface_hub import hf_hub_download

    if folder is None:
        return Path(hf_hub_download(repo, name, cache_dir=hub_cache()))
    return Path(hf_hub_download(repo, name, local_dir=folder))
