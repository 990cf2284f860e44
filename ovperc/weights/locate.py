"""Finding what a user names: catalogue name, open_clip or timm tag, hub repository, folder or file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import open_clip

from ovperc.core.naming import suggest
from ovperc.weights import catalogue, hub
from ovperc.weights.architectures import QUICK_SUFFIX
from ovperc.weights.caches import find_file, offline
from ovperc.weights.entry import CLIP_MEAN, CLIP_STD, Rgb, WeightsEntry
from ovperc.weights.errors import CheckpointError

DEFAULT_WEIGHTS = "clip-mini"
SUFFIXES = (".pt", ".pth", ".bin", ".safetensors", ".ckpt", ".npz", ".tar")
_PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode")
_FAMILIES = {
    "clip": "a dual encoder",
    "vision": "an image tower without words",
    "sam": "a SAM",
    "heads": "the head of a method",
}


@dataclass(frozen=True)
class WeightsSource:
    """Where weights come from, and what is known of them before they are read.

    Attributes:
        label: the source in words, for messages.
        arch: architecture name; None where it is to be read from the weights.
        path: checkpoint file; None for random weights.
        quick_gelu: activation the weights were trained with; None where nothing tells.
        preprocess: ``mean``, ``std``, ``interpolation`` and ``resize_mode``, as far as known.
        side: contents of the JSON files next to the weights, by file name.
    """

    label: str
    arch: str | None = None
    path: Path | None = None
    quick_gelu: bool | None = None
    preprocess: dict[str, Any] = field(default_factory=dict)
    side: Mapping[str, dict[str, Any]] = field(default_factory=dict)


def locate(arch: str | None, weights: str | Path | None) -> WeightsSource:
    """Finds the weights of a dual encoder; downloads only what is nowhere on this machine.

    Raises:
        ValueError: the names do not exist or contradict each other; offers near matches.
        FileNotFoundError: there is no such file (``MissingWeightsError`` says how to get it).
    """
    name = None if weights is None else str(weights)
    shipped = {row.name: row for row in catalogue.CATALOGUE if row.shipped and row.family == "clip"}
    row = shipped.get(name or arch or DEFAULT_WEIGHTS)
    if row is not None and arch in (None, row.arch):
        preprocess = {"mean": row.mean, "std": row.std}
        return WeightsSource(row.name, row.arch, catalogue.resolve_weights(row.name), preprocess=preprocess)
    if arch is not None and arch.startswith(hub.PREFIX):
        if name is not None:
            raise ValueError(f"{arch} names its own weights; leave weights out, or pass it as weights")
        return from_hub(arch, None)
    if name is None:
        raise ValueError(f"arch {arch!r} needs weights: {_tags_of(arch)}, a file, or 'random'")
    if name == "random":
        if arch is None:
            raise ValueError("random weights need an arch, such as arch='ViT-B-16'")
        return WeightsSource("random weights", arch)
    return _from_path(name, arch) or _from_clip_name(arch, name)


def locate_tower(weights: str | Path, family: str, arch: str | None = None) -> WeightsSource:
    """Finds the weights of an image tower without words, or of a SAM; see :func:`locate`.

    Args:
        weights: catalogue name, timm's ``ARCH.TAG``, ``hf-hub:`` name, folder or file.
        family: ``vision`` or ``sam``.
        arch: timm architecture, where the user gave one.
    """
    name = str(weights)
    entry = next((row for row in catalogue.CATALOGUE if row.family == family and row.name == name), None)
    if entry is None:
        found = _from_path(name, arch)
        if found is not None:
            return found
        entry = _timm_entry(name) if family == "vision" else None
    if entry is None:
        raise unknown_weights(name, family)
    source = from_file(catalogue.resolve_entry(entry), arch or entry.arch or None)
    return replace(source, label=name, preprocess={"mean": entry.mean, "std": entry.std, **source.preprocess})


def from_hub(name: str, arch: str | None) -> WeightsSource:
    """A hub repository, ``hf-hub:OWNER/NAME`` or ``hf-hub:OWNER/NAME/FILE``: this machine first, then the network.

    Weights that another library has cached without the files that explain them take open_clip's row of the
    repository; failing that, the files are fetched.
    """
    owner, _, rest = name.removeprefix(hub.PREFIX).partition("/")
    repo, _, file = rest.partition("/")
    repo, files = f"{owner}/{repo}", (file,) if file else ()
    path = hub.find_repository(repo, files) or hub.fetch_repository(repo, files)
    source = replace(from_file(path, arch), label=name)
    if any(source.side.values()):
        return source
    row = next((pair for pair in _tags() if _hub_of(*pair) == repo), None)
    if row is not None and arch is None:
        return replace(_from_tag(*row, path=path), label=name)
    if not offline() and arch is None:
        hub.fetch_side_files(repo, hub.SIDE_FILES)
        source = replace(from_file(path, arch), label=name)
    return source


def from_file(path: Path, arch: str | None) -> WeightsSource:
    """A local file, with what the JSON files next to it and its publisher's name tell."""
    side = {name: _read_json(path.with_name(name)) for name in hub.SIDE_FILES}
    source = WeightsSource(str(path), arch, path, side=side)
    row = next((pair for pair in _tags() if _published_file(*pair) == path.name), None)
    if row is None or arch is not None:
        return source
    return replace(_from_tag(*row, path=path), label=str(path), side=side)


def find_published(name: str) -> WeightsEntry:
    """A row for weights outside the catalogue: open_clip's ``ARCH/TAG``, timm's ``ARCH.TAG``, or ``hf-hub:OWNER/NAME``.

    Raises:
        ValueError: no such name; offers near matches.
    """
    arch, _, tag = name.rpartition("/")
    if name.startswith(hub.PREFIX):
        repo = name.removeprefix(hub.PREFIX)
        unknown = ("see its page", "Hugging Face hub", CLIP_MEAN, CLIP_STD, 0)
        return WeightsEntry(name, "", "", f"{repo.rpartition('/')[2]}.safetensors", None, (repo,), None, *unknown)
    if _pretrained(arch, tag):
        return open_clip_entry(arch, tag)
    entry = _timm_entry(name)
    if entry is None:
        raise unknown_weights(name, "clip")
    return entry


def unknown_weights(name: str, family: str, near: tuple[str, ...] = ()) -> Exception:
    """The error for a name that is neither a file nor weights of the family."""
    if Path(name).suffix in SUFFIXES or name.startswith((".", "/", "~")):
        return FileNotFoundError(f"there is no weights file {name}")
    other = next((row for row in catalogue.CATALOGUE if row.name == name), None)
    if other is not None:
        return ValueError(f"{name!r} is {_FAMILIES[other.family]}, where {_FAMILIES[family]} is needed")
    known = [row.name for row in catalogue.CATALOGUE if row.family == family]
    hint = suggest(name, [*known, *near])
    if name.count("/") == 1 and all(name.split("/")):
        hint += f"; a repository of the Hugging Face hub is written {hub.PREFIX + name!r}"
    return ValueError(f"unknown weights {name!r}: neither a file nor a name; {hint}")


def _from_path(name: str, arch: str | None) -> WeightsSource | None:
    """A path, a file name in one of the weights folders, or a hub name; None for other names."""
    if name.startswith(hub.PREFIX):
        return from_hub(name, arch)
    path = Path(name).expanduser()
    if path.is_dir():
        found = hub.weights_in(path)
        if found is None:
            raise FileNotFoundError(f"{path} holds none of {', '.join(hub.WEIGHT_FILES)}, nor a single weights file")
        return from_file(found, arch)
    if not path.is_file() and path.suffix in SUFFIXES and path.name == name:
        path = find_file([name]) or path
    return from_file(path, arch) if path.is_file() else None


def _from_clip_name(arch: str | None, name: str) -> WeightsSource:
    """A catalogue name, ``ARCH/TAG``, or a tag of ``arch``."""
    named_arch, _, tag = name.rpartition("/")
    if _pretrained(named_arch, tag):
        if arch is not None and arch.removesuffix(QUICK_SUFFIX) != named_arch.removesuffix(QUICK_SUFFIX):
            raise ValueError(f"weights {name!r} are of arch {named_arch!r}, not of {arch!r}; leave arch out")
        return _from_tag(arch or named_arch, tag)
    if arch is not None and _pretrained(arch, name):
        return _from_tag(arch, name)
    entry = next((row for row in catalogue.CATALOGUE if row.family == "clip" and row.name == name), None)
    if entry is not None:
        return replace(from_file(catalogue.resolve_entry(entry), arch), label=name)
    tags = [] if arch is None else open_clip.list_pretrained_tags_by_model(arch.removesuffix(QUICK_SUFFIX))
    raise unknown_weights(name, "clip", tuple(tags))


def _pretrained(arch: str, tag: str) -> dict[str, Any]:
    """open_clip's row of an architecture and tag; QuickGELU names share the rows of the plain ones."""
    return open_clip.get_pretrained_cfg(arch, tag) or open_clip.get_pretrained_cfg(arch.removesuffix(QUICK_SUFFIX), tag)


def _tags() -> list[tuple[str, str]]:
    """Architecture and tag of all that open_clip lists."""
    return [(arch, tag) for arch, tag in open_clip.list_pretrained()]


def _hub_of(arch: str, tag: str) -> str:
    return "/".join(_pretrained(arch, tag).get("hf_hub", "").split("/")[:2])


def _published_file(arch: str, tag: str) -> str:
    """The publisher's file name; OpenAI's say too little (``ViT-B-16.pt``), and their archives tell by themselves."""
    return "" if tag == "openai" else _pretrained(arch, tag).get("url", "").rpartition("/")[2]


def _from_tag(arch: str, tag: str, path: Path | None = None) -> WeightsSource:
    """open_clip's row of a tag; the file is found, or is the one given."""
    row = _pretrained(arch, tag)
    config = open_clip.get_model_config(arch) or {}
    native_quick = config.get("quick_gelu", False) and not arch.endswith(QUICK_SUFFIX)
    entry = catalogue.find_entry(arch, tag) or open_clip_entry(arch, tag)
    return WeightsSource(
        label=f"{arch.removesuffix(QUICK_SUFFIX)}/{tag}",
        arch=arch,
        path=path or catalogue.resolve_entry(entry),
        quick_gelu=bool(row.get("quick_gelu", False) or native_quick),
        preprocess={key: row[key] for key in _PREPROCESS_KEYS if key in row},
    )


def open_clip_entry(arch: str, tag: str) -> WeightsEntry:
    """A row for a tag of open_clip that the catalogue does not list."""
    row, repo, url = _pretrained(arch, tag), _hub_of(arch, tag), _pretrained(arch, tag).get("url") or None
    file = url.rpartition("/")[2] if url else f"{arch}-{tag}.safetensors"
    mean, std = row.get("mean", CLIP_MEAN), row.get("std", CLIP_STD)
    hubs = (repo,) if repo else ()
    unknown = ("see its page", "listed by open_clip", mean, std, 0)
    return WeightsEntry(f"{arch}/{tag}", arch, tag, file, url, hubs, None, *unknown)


def _timm_entry(name: str) -> WeightsEntry | None:
    """A row for timm's ``ARCH.TAG``, or None where timm has no such weights."""
    import timm

    row = timm.get_pretrained_cfg(name, allow_unregistered=False) if timm.is_model_pretrained(name) else None
    if row is None:
        return None
    url = str(row.url) if row.url else None
    file = url.rpartition("/")[2] if url else f"{name}.safetensors"
    hubs = (row.hf_hub_id,) if row.hf_hub_id else ()
    mean, std = cast("tuple[Rgb, Rgb]", (tuple(row.mean), tuple(row.std)))
    licence = row.license or "see its page"
    return WeightsEntry(name, name, "", file, url, hubs, None, licence, "listed by timm", mean, std, 0, "vision")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}, which explains the weights next to it, is no JSON: {error}") from error
    return content if isinstance(content, dict) else {}


def _tags_of(arch: str | None) -> str:
    tags = open_clip.list_pretrained_tags_by_model((arch or "").removesuffix(QUICK_SUFFIX))
    return f"one of the tags {', '.join(tags)}" if tags else "a tag"
