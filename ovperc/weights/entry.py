"""A row of the weights catalogue."""

from __future__ import annotations

from dataclasses import dataclass

Rgb = tuple[float, float, float]
HUB_URL = "https://huggingface.co"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class WeightsEntry:
    """Published or shipped weights.

    Attributes:
        name: what users type; ``ARCH/TAG`` for open_clip's.
        arch: open_clip architecture; timm's for image towers; empty where the file's shapes tell.
        tag: open_clip pretrained tag; empty for other weights.
        file: file name in the weights folder.
        url: where the file is published; None for weights that ship with ovperc, or that only the hub has.
        hubs: repositories of the Hugging Face hub that hold them, ``owner/name``; the first is fetched, any is used.
        sha256: checksum as published; None where the publisher gives none.
        licence: licence of the weights.
        source: who trained them, on what.
        paper: arXiv identifier; empty where there is none.
        mean, std: normalisation, RGB in 0..1.
        size_mb: approximate size of the file.
        family: ``clip`` (dual encoders), ``vision`` (image towers without text), ``sam``, or ``heads`` of a method.
    """

    name: str
    arch: str
    tag: str
    file: str
    url: str | None
    hubs: tuple[str, ...]
    sha256: str | None
    licence: str
    source: str
    mean: Rgb
    std: Rgb
    size_mb: int
    family: str = "clip"
    paper: str = ""

    @property
    def shipped(self) -> bool:
        """Whether the file comes with ovperc."""
        return self.url is None and not self.hubs

    @property
    def address(self) -> str:
        """Where to get them, for a person."""
        return self.url or f"{HUB_URL}/{self.hubs[0]}"

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names under which the single file may lie in a weights folder: ovperc's and the publisher's."""
        stem = self.file.rpartition(".")[0]
        published = (self.url.rpartition("/")[2],) if self.url else (f"{stem}.bin", f"{stem}.pt")
        return tuple(dict.fromkeys((self.file, *published)))
