"""The weights catalogue: what there is, under which licence, and where a file is looked for before any download."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)
_OPENAI = "https://openaipublic.azureedge.net/clip/models"
_HUB = "https://huggingface.co"
_ASSETS = Path(__file__).parent / "assets" / "weights"


class MissingWeightsError(FileNotFoundError):
    """Weights are not on this machine; says which file, where from, and where to put it."""


@dataclass(frozen=True)
class WeightsEntry:
    """One row of the catalogue.

    Attributes:
        name: what users type, ``ARCH/TAG``.
        arch: open_clip architecture.
        tag: open_clip pretrained tag; empty for ovperc's own weights.
        file: file name in the weights folder.
        url: where the file is published; None for weights that ship with ovperc.
        sha256: checksum as published; None where the publisher gives none.
        licence: licence of the weights.
        source: who trained them, on what.
        mean, std: normalisation, RGB in 0..1.
        size_mb: approximate size of the file.
    """

    name: str
    arch: str
    tag: str
    file: str
    url: str | None
    sha256: str | None
    licence: str
    source: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size_mb: int

    @property
    def hub_repo(self) -> str | None:
        """``owner/name`` on the Hugging Face hub, where the file lives there."""
        if self.url is None or not self.url.startswith(f"{_HUB}/"):
            return None
        return "/".join(self.url.removeprefix(f"{_HUB}/").split("/")[:2])


def _openai(arch: str, file: str, sha256: str, size_mb: int) -> WeightsEntry:
    return WeightsEntry(
        name=f"{arch}/openai",
        arch=f"{arch}-quickgelu",
        tag="openai",
        file=file,
        url=f"{_OPENAI}/{sha256}/{file}",
        sha256=sha256,
        licence="MIT",
        source="OpenAI CLIP, WIT-400M",
        mean=_CLIP_MEAN,
        std=_CLIP_STD,
        size_mb=size_mb,
    )


def _laion(arch: str, tag: str, repo: str, size_mb: int, half: bool = False) -> WeightsEntry:
    return WeightsEntry(
        name=f"{arch}/{tag}",
        arch=arch,
        tag=tag,
        file=f"{repo}.bin",
        url=f"{_HUB}/laion/{repo}/resolve/main/open_clip_pytorch_model.bin",
        sha256=None,
        licence="MIT",
        source="OpenCLIP, LAION-2B (English)",
        mean=_HALF if half else _CLIP_MEAN,
        std=_HALF if half else _CLIP_STD,
        size_mb=size_mb,
    )


CATALOGUE: tuple[WeightsEntry, ...] = (
    WeightsEntry(
        name="clip-mini",
        arch="clip-mini",
        tag="",
        file="clip-mini.safetensors",
        url=None,
        sha256=None,
        licence="Apache-2.0",
        source="ovperc, trained on its own procedural world",
        mean=_CLIP_MEAN,
        std=_CLIP_STD,
        size_mb=4,
    ),
    _openai("ViT-B-16", "ViT-B-16.pt", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", 335),
    _openai("ViT-B-32", "ViT-B-32.pt", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", 338),
    _openai("ViT-L-14", "ViT-L-14.pt", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", 890),
    _openai(
        "ViT-L-14-336", "ViT-L-14-336px.pt", "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02", 891
    ),
    _openai("RN50", "RN50.pt", "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762", 244),
    _openai("RN101", "RN101.pt", "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599", 278),
    _laion("ViT-B-32", "laion2b_s34b_b79k", "CLIP-ViT-B-32-laion2B-s34B-b79K", 577),
    _laion("ViT-B-16", "laion2b_s34b_b88k", "CLIP-ViT-B-16-laion2B-s34B-b88K", 571),
    _laion("ViT-L-14", "laion2b_s32b_b82k", "CLIP-ViT-L-14-laion2B-s32B-b82K", 1631, half=True),
    _laion("ViT-H-14", "laion2b_s32b_b79k", "CLIP-ViT-H-14-laion2B-s32B-b79K", 3762),
)


def home() -> Path:
    """ovperc's folder: ``OVPERC_HOME``, or ``~/.cache/ovperc``."""
    return Path(os.environ.get("OVPERC_HOME") or Path.home() / ".cache" / "ovperc").expanduser()


def weights_folder() -> Path:
    """Where downloaded weights are kept and looked for."""
    return home() / "weights"


def offline() -> bool:
    """Whether ``OVPERC_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids any download."""
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in _OFFLINE_VARIABLES)


_OFFLINE_VARIABLES = ("OVPERC_OFFLINE", "HF_HUB_OFFLINE")


def list_weights() -> tuple[str, ...]:
    """Names of the catalogue."""
    return tuple(entry.name for entry in CATALOGUE)


def get_entry(name: str) -> WeightsEntry:
    """The catalogue row of a name.

    Raises:
        ValueError: no such name; offers near matches.
    """
    rows = {entry.name: entry for entry in CATALOGUE}
    if name not in rows:
        from ovperc.registry import suggest

        raise ValueError(f"unknown weights {name!r}; {suggest(name, rows)}")
    return rows[name]


def find_entry(arch: str, tag: str) -> WeightsEntry | None:
    """The row of an open_clip architecture and tag, if the catalogue has one; QuickGELU names are the same row."""
    plain = arch.removesuffix("-quickgelu")
    return next((row for row in CATALOGUE if row.name == f"{plain}/{tag}" and row.tag), None)


def local_file(entry: WeightsEntry) -> Path | None:
    """The file if it is on this machine: shipped, in ovperc's folder, or in open_clip's and the hub's caches."""
    if entry.url is None:
        candidates = [_ASSETS / entry.file, weights_folder() / entry.file]
    else:
        candidates = [weights_folder() / entry.file, home() / entry.file, Path.home() / ".cache" / "clip" / entry.file]
    found = next((path for path in candidates if path.is_file()), None)
    return found or (_in_hub_cache(entry.hub_repo) if entry.hub_repo else None)


def _in_hub_cache(repo: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for file in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        cached = try_to_load_from_cache(repo, file)
        if isinstance(cached, str):
            return Path(cached)
    return None


def resolve_weights(name: str, *, download: bool = True) -> Path:
    """Path of catalogued weights, offline first.

    Args:
        name: a catalogue name, such as ``"ViT-B-16/openai"``.
        download: fetch a file that is not here, unless ``OVPERC_OFFLINE`` is set.

    Raises:
        ValueError: no such name.
        MissingWeightsError: the file is not here and could not be fetched.
    """
    entry = get_entry(name)
    found = local_file(entry)
    if found is not None:
        return found
    if entry.url is None:
        raise MissingWeightsError(
            f"the weights {entry.name} ship with ovperc as {_ASSETS / entry.file}, but the file is not there; "
            "install ovperc again, or train them with: python tools/train.py configs/train/clip_mini.py"
        )
    if not download or offline():
        raise MissingWeightsError(how_to_get(entry, "downloads are switched off"))
    from ovperc.downloads import DownloadError, download_file

    target = weights_folder() / entry.file
    try:
        return download_file(entry.url, target, sha256=entry.sha256)
    except DownloadError as error:
        raise MissingWeightsError(how_to_get(entry, str(error))) from error


def how_to_get(entry: WeightsEntry, reason: str) -> str:
    """What, where from and where to put it, in three lines."""
    return (
        f"the weights {entry.name} are not on this machine ({reason}).\n"
        f"  get  {entry.url} (about {entry.size_mb} MB, {entry.licence})\n"
        f"  as   {weights_folder() / entry.file}\n"
        "  or pass the path of a file that you have; on a machine with a network: python tools/download.py "
        f"{entry.name} --to DIR"
    )
