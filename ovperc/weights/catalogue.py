"""The weights catalogue: what there is, under which licence, and where a file is looked for before any download."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ovperc.weights.errors import MissingWeightsError

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_OPENAI = "https://openaipublic.azureedge.net/clip/models"
_HUB = "https://huggingface.co"
_META = "https://dl.fbaipublicfiles.com"
_ASSETS = Path(__file__).parents[1] / "assets" / "weights"


@dataclass(frozen=True)
class WeightsEntry:
    """One row of the catalogue.

    Attributes:
        name: what users type, ``ARCH/TAG``.
        arch: open_clip architecture; timm's for image towers; empty where the file's shapes tell.
        tag: open_clip pretrained tag; empty for ovperc's own weights.
        file: file name in the weights folder.
        url: where the file is published; None for weights that ship with ovperc.
        sha256: checksum as published; None where the publisher gives none.
        licence: licence of the weights.
        source: who trained them, on what.
        mean, std: normalisation, RGB in 0..1.
        size_mb: approximate size of the file.
        family: ``clip`` (dual encoders), ``vision`` (image towers without text), ``sam``, or ``heads`` of a method.
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
    family: str = "clip"

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


def _vision(name: str, arch: str, url: str, source: str, size_mb: int, licence: str = "Apache-2.0") -> WeightsEntry:
    file = url.rpartition("/")[2]
    on_hub = url.startswith(_HUB)
    return WeightsEntry(
        name=name,
        arch=arch,
        tag="",
        file=f"{arch}.safetensors" if on_hub else file,
        url=url,
        sha256=None,
        licence=licence,
        source=source,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        size_mb=size_mb,
        family="sam" if name.startswith("sam-") else "vision",
    )


def _shipped(name: str, arch: str, family: str, size_mb: int) -> WeightsEntry:
    return WeightsEntry(
        name=name,
        arch=arch,
        tag="",
        file=f"{name}.safetensors",
        url=None,
        sha256=None,
        licence="Apache-2.0",
        source="ovperc, trained on its own procedural world",
        mean=_CLIP_MEAN if family in ("clip", "heads") else IMAGENET_MEAN,
        std=_CLIP_STD if family in ("clip", "heads") else IMAGENET_STD,
        size_mb=size_mb,
        family=family,
    )


def _dino(name: str, arch: str, stem: str, size_mb: int) -> WeightsEntry:
    return _vision(name, arch, f"{_META}/dino/{stem}/{stem}.pth", "DINO, ImageNet-1k", size_mb)


def _dinov2(name: str, arch: str, folder: str, stem: str, size_mb: int) -> WeightsEntry:
    return _vision(name, arch, f"{_META}/dinov2/{folder}/{stem}_pretrain.pth", "DINOv2, LVD-142M", size_mb)


def _sam(name: str, file: str, size_mb: int) -> WeightsEntry:
    return _vision(name, "", f"{_META}/segment_anything/{file}", "Segment Anything, SA-1B", size_mb)


CATALOGUE: tuple[WeightsEntry, ...] = (
    WeightsEntry(
        name="clip-mini",
        arch="clip-mini",
        tag="",
        file="clip-mini.safetensors",
        url=None,
        sha256="8f4a4ef6b90ef0968953cc32ed52cf24a32298032d4bf0feb9b629ef98d39429",
        licence="Apache-2.0",
        source="ovperc, trained on its own procedural world",
        mean=_CLIP_MEAN,
        std=_CLIP_STD,
        size_mb=4,
    ),
    _shipped("clip-mini-clim", "clip-mini", "clip", 4),
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
    _shipped("dino-mini", "dino-mini", "vision", 2),
    _shipped("sam-mini", "", "sam", 2),
    WeightsEntry(
        name="clip-dinoiser",
        arch="",
        tag="",
        file="clip_dinoiser_last.pt",
        url="https://github.com/wysoczanska/clip_dinoiser/raw/main/checkpoints/last.pt",
        sha256=None,
        licence="Apache-2.0",
        source="CLIP-DINOiser's heads for ViT-B-16/laion2b_s34b_b88k, 1000 pictures of ImageNet",
        mean=_CLIP_MEAN,
        std=_CLIP_STD,
        size_mb=7,
        family="heads",
    ),
    _shipped("anomalyclip-mini", "", "heads", 1),
    _shipped("april-gan-mini", "", "heads", 1),
    _shipped("dinoiser-mini", "", "heads", 1),
    _shipped("fvlm-mini", "", "heads", 4),
    _dino("dino-vits16", "vit_small_patch16_224.dino", "dino_deitsmall16_pretrain", 87),
    _dino("dino-vits8", "vit_small_patch8_224.dino", "dino_deitsmall8_pretrain", 87),
    _dino("dino-vitb16", "vit_base_patch16_224.dino", "dino_vitbase16_pretrain", 343),
    _dino("dino-vitb8", "vit_base_patch8_224.dino", "dino_vitbase8_pretrain", 343),
    _dinov2("dinov2-vits14", "vit_small_patch14_dinov2", "dinov2_vits14", "dinov2_vits14", 88),
    _dinov2("dinov2-vitb14", "vit_base_patch14_dinov2", "dinov2_vitb14", "dinov2_vitb14", 346),
    _dinov2("dinov2-vits14-reg", "vit_small_patch14_reg4_dinov2", "dinov2_vits14", "dinov2_vits14_reg4", 88),
    _dinov2("dinov2-vitb14-reg", "vit_base_patch14_reg4_dinov2", "dinov2_vitb14", "dinov2_vitb14_reg4", 346),
    _vision(
        "dinov3-vitb16",
        "vit_base_patch16_dinov3.lvd1689m",
        f"{_HUB}/timm/vit_base_patch16_dinov3.lvd1689m/resolve/main/model.safetensors",
        "DINOv3, LVD-1689M, by timm",
        343,
        "DINOv3 License",
    ),
    _vision(
        "mae-vitb16",
        "vit_base_patch16_224.mae",
        f"{_META}/mae/pretrain/mae_pretrain_vit_base.pth",
        "MAE, ImageNet-1k",
        343,
        "CC-BY-NC-4.0",
    ),
    _sam("sam-vit-b", "sam_vit_b_01ec64.pth", 375),
    _sam("sam-vit-l", "sam_vit_l_0b3195.pth", 1250),
    _sam("sam-vit-h", "sam_vit_h_4b8939.pth", 2564),
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
        from ovperc.core.naming import suggest

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
        folders = [weights_folder(), home(), Path.home() / ".cache" / "clip"]
        folders.append(Path.home() / ".cache" / "torch" / "hub" / "checkpoints")
        candidates = [folder / entry.file for folder in folders]
    found = next((path for path in candidates if path.is_file()), None)
    return found or (_in_hub_cache(entry.hub_repo) if entry.hub_repo else None)


def _in_hub_cache(repo: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for file in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors"):
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
            "install ovperc again, or train them with tools/train.py: configs/train/ holds the recipe of each"
        )
    if not download or offline():
        raise MissingWeightsError(how_to_get(entry, "downloads are switched off"))
    from ovperc.weights.download import DownloadError, download_file

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
