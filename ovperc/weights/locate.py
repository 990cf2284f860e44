"""Finding what a user names: catalogue name, open_clip tag, hub name, folder or file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import open_clip
from open_clip.pretrained import download_pretrained_from_hf

from ovperc.core.naming import suggest
from ovperc.weights import catalogue as catalogue
from ovperc.weights.architectures import QUICK_SUFFIX, ModelConfig
from ovperc.weights.catalogue import MissingWeightsError
from ovperc.weights.download import DownloadError, download_file

HUB_PREFIX = "hf-hub:"
_WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
_SIDE_FILES = ("open_clip_config.json", "config.json", "preprocessor_config.json")
_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "tokenizer.model")


@dataclass(frozen=True)
class WeightsSource:
    """Where weights come from, and what is known of them before they are read.

    Attributes:
        label: the source in words, for messages.
        arch: architecture name; None where it is to be read from the weights.
        path: checkpoint file; None for random weights.
        config: model config that lies beside the weights.
        quick_gelu: activation the weights were trained with; None where nothing tells.
        preprocess: ``mean``, ``std`` and ``interpolation``, as far as known.
    """

    label: str
    arch: str | None = None
    path: Path | None = None
    config: ModelConfig | None = None
    quick_gelu: bool | None = None
    preprocess: dict[str, Any] = field(default_factory=dict)


def locate(arch: str | None, weights: str | Path | None) -> WeightsSource:
    """Finds the weights; downloads only what is nowhere on this machine.

    Raises:
        ValueError: the names do not exist or contradict each other; offers near matches.
        FileNotFoundError: there is no such file (``MissingWeightsError`` says how to get it).
    """
    name = None if weights is None else str(weights)
    shipped = {entry.name for entry in catalogue.CATALOGUE if entry.arch == "clip-mini"}
    if arch in (None, "clip-mini") and (name is None or name in shipped):
        name = name or "clip-mini"
        return WeightsSource(name, "clip-mini", catalogue.resolve_weights(name))
    if arch is not None and arch.startswith(HUB_PREFIX):
        if name is not None:
            raise ValueError(f"{arch} names its own weights; leave weights out, or pass it as weights")
        return _from_hub(arch.removeprefix(HUB_PREFIX), None)
    if name is None:
        raise ValueError(f"arch {arch!r} needs weights: {_tags_of(arch)}, a file, or 'random'")
    if name == "random":
        if arch is None:
            raise ValueError("random weights need an arch, such as arch='ViT-B-16'")
        return WeightsSource("random weights", arch)
    path = Path(name).expanduser()
    if path.exists():
        return _from_folder(path, arch) if path.is_dir() else _from_file(path, arch)
    if name.startswith(HUB_PREFIX):
        return _from_hub(name.removeprefix(HUB_PREFIX), arch)
    return _from_name(arch, name)


def _from_name(arch: str | None, name: str) -> WeightsSource:
    """A catalogue name, ``ARCH/TAG``, or a tag of ``arch``."""
    known = {entry.name for entry in catalogue.CATALOGUE if entry.family == "clip"}
    named_arch, _, tag = name.rpartition("/")
    if name in known or _pretrained(named_arch, tag):
        if arch is not None and arch.removesuffix(QUICK_SUFFIX) != named_arch.removesuffix(QUICK_SUFFIX):
            raise ValueError(f"weights {name!r} are of arch {named_arch!r}, not of {arch!r}; leave arch out")
        return _from_tag(arch or named_arch, tag)
    if arch is not None and _pretrained(arch, name):
        return _from_tag(arch, name)
    if Path(name).suffix in (".pt", ".pth", ".bin", ".safetensors", ".ckpt") or name.startswith((".", "/", "~")):
        raise FileNotFoundError(f"there is no weights file {name}")
    tags = [] if arch is None else open_clip.list_pretrained_tags_by_model(arch.removesuffix(QUICK_SUFFIX))
    raise ValueError(f"unknown weights {name!r}: neither a file nor a name; {suggest(name, [*known, *tags])}")


def _pretrained(arch: str, tag: str) -> dict[str, Any]:
    """open_clip's row of an architecture and tag; QuickGELU names share the rows of the plain ones."""
    return open_clip.get_pretrained_cfg(arch, tag) or open_clip.get_pretrained_cfg(arch.removesuffix(QUICK_SUFFIX), tag)


def _from_tag(arch: str, tag: str) -> WeightsSource:
    row = _pretrained(arch, tag)
    entry = catalogue.find_entry(arch, tag)
    path = catalogue.resolve_weights(entry.name) if entry else _tag_file(arch, tag, row)
    config = open_clip.get_model_config(arch) or {}
    native_quick = config.get("quick_gelu", False) and not arch.endswith(QUICK_SUFFIX)
    return WeightsSource(
        label=f"{arch.removesuffix(QUICK_SUFFIX)}/{tag}",
        arch=arch,
        path=path,
        quick_gelu=bool(row.get("quick_gelu", False) or native_quick),
        preprocess=_preprocess_of(row),
    )


def _preprocess_of(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("mean", "std", "interpolation") if key in row}


def _tag_file(arch: str, tag: str, row: dict[str, Any]) -> Path:
    """File of a tag that the catalogue does not list."""
    repo, _, file = row.get("hf_hub", "").rpartition("/")
    url = row.get("url") or f"https://huggingface.co/{repo}"
    local = catalogue.weights_folder() / (Path(row["url"]).name if row.get("url") else f"{arch}-{tag}.safetensors")
    candidates = [local, local.with_suffix(".bin"), Path.home() / ".cache" / "clip" / local.name]
    found = next((path for path in candidates if path.is_file()), None) or (repo and _cached(repo, _names(file)))
    if found:
        return Path(found)
    hint = f"get {url} and put the weights file at {local}, or pass its path as weights"
    if catalogue.offline():
        raise MissingWeightsError(f"the weights {arch}/{tag} are not on this machine; {hint}")
    try:
        if row.get("url"):
            return download_file(row["url"], local)
        return Path(download_pretrained_from_hf(repo, filename=file or None))
    except (DownloadError, OSError, RuntimeError, ValueError) as error:
        raise MissingWeightsError(f"the weights {arch}/{tag} could not be fetched ({error}); {hint}") from error


def _names(file: str) -> tuple[str, ...]:
    return (file,) if file else _WEIGHT_FILES


def _cached(repo: str, names: tuple[str, ...]) -> str | None:
    """First of the files that the hub's cache holds."""
    from huggingface_hub import try_to_load_from_cache

    hits = (try_to_load_from_cache(repo, name) for name in names)
    return next((hit for hit in hits if isinstance(hit, str)), None)


def _from_hub(repo: str, arch: str | None) -> WeightsSource:
    """A hub repository: whatever the cache holds, then the network."""
    cached = _cached(repo, _WEIGHT_FILES)
    if cached is None:
        hint = f"get https://huggingface.co/{repo}, its weights and JSON files, and pass the folder as weights"
        if catalogue.offline():
            raise MissingWeightsError(f"hf-hub:{repo} is not on this machine; {hint}")
        try:
            cached = _fetch_repo(repo)
        except Exception as error:  # the hub's client raises many kinds, all meaning: no file
            raise MissingWeightsError(f"hf-hub:{repo} could not be fetched ({error}); {hint}") from error
    return replace(_from_file(Path(cached), arch), label=f"hf-hub:{repo}")


def _fetch_repo(repo: str) -> str:
    """Fetches one weights file and the small files that explain it, into the hub's cache."""
    from huggingface_hub import hf_hub_download, list_repo_files

    listed = set(list_repo_files(repo))
    name = next((name for name in _WEIGHT_FILES if name in listed), None)
    if name is None:
        raise FileNotFoundError(f"the repository holds none of {', '.join(_WEIGHT_FILES)}")
    for side in listed.intersection((*_SIDE_FILES, *_TOKENIZER_FILES)):
        hf_hub_download(repo, side)
    return hf_hub_download(repo, name)


def _weights_in(folder: Path) -> Path:
    found = next((folder / name for name in _WEIGHT_FILES if (folder / name).is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{folder} holds none of {', '.join(_WEIGHT_FILES)}")
    return found


def _from_folder(folder: Path, arch: str | None) -> WeightsSource:
    return _from_file(_weights_in(folder), arch)


def _from_file(path: Path, arch: str | None) -> WeightsSource:
    """A local file, with what the JSON files beside it and the catalogue tell."""
    source = WeightsSource(str(path), arch, path)
    beside = {name: _read_json(path.with_name(name)) for name in _SIDE_FILES}
    entry = next((row for row in catalogue.CATALOGUE if row.file == path.name and row.tag), None)
    if entry is not None:
        tag = _pretrained(entry.arch, entry.tag)
        return replace(
            source,
            arch=arch or entry.arch,
            quick_gelu=bool(tag.get("quick_gelu", False)),
            preprocess=_preprocess_of(tag),
        )
    open_clip_config = beside["open_clip_config.json"]
    if open_clip_config and path.name.startswith("open_clip"):
        config = open_clip_config.get("model_cfg")
        return replace(source, config=config, preprocess=_preprocess_of(open_clip_config.get("preprocess_cfg", {})))
    if beside["config.json"] and path.name in ("model.safetensors", "pytorch_model.bin"):
        processor = beside["preprocessor_config.json"]
        named = {"mean": processor.get("image_mean"), "std": processor.get("image_std")}
        source = replace(
            source,
            quick_gelu=_hugging_face_activation(beside["config.json"]),
            preprocess={key: tuple(value) for key, value in named.items() if value},
        )
    return source


def _hugging_face_activation(config: dict[str, Any]) -> bool:
    """``hidden_act`` of a ``CLIPConfig``; files leave it out where it is the default, QuickGELU."""
    return config.get("vision_config", {}).get("hidden_act", "quick_gelu") == "quick_gelu"


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _tags_of(arch: str | None) -> str:
    tags = open_clip.list_pretrained_tags_by_model((arch or "").removesuffix(QUICK_SUFFIX))
    return f"one of the tags {', '.join(tags)}" if tags else "a tag"
