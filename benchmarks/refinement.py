"""Cases of the second towers: ProxyCLIP, CLIP-DINOiser and Trident beside plain forms of them and beside bare towers.

Real architectures with seeded random weights, a picture of 375 x 500, and as many random prompts as each method's
words for VOC21; arrays in, label maps at the original size out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks import plain_refinement
from benchmarks.case import Case, Measurement, Options
from benchmarks.foundation import random_image
from benchmarks.memory import peak_memory
from ovperc.core.structures import TextBank
from ovperc.core.timing import paired_ratio
from ovperc.text.class_names import load_class_names
from ovperc.text.owners import max_by_owner_

IMAGE_HW = (375, 500)
WORDS = "voc21"
CLIP_ARCH, DINO_ARCH, SAM_WEIGHTS = "ViT-B-16", "vit_base_patch16_224.dino", "random-vit_b"
_FASTER = {"proxyclip": 1.5, "clip_dinoiser": 1.3, "trident": 1.6}
_OVER_TOWERS = {"proxyclip": 1.15, "clip_dinoiser": 1.15, "trident": 1.25}
_PLAIN = {
    "proxyclip": plain_refinement.plain_proxyclip,
    "clip_dinoiser": plain_refinement.plain_dinoiser,
    "trident": plain_refinement.plain_trident,
}
_SCALE_ERROR = 1e-3


def refined_segmenter(method: str, device: str = "cpu", dtype: str = "float32", **towers: Any) -> Any:
    """A method of this file on random weights of real size.

    Args:
        method: ``proxyclip``, ``clip_dinoiser`` or ``trident``.
        device: where it computes.
        dtype: of the towers' weights.
        **towers: other architectures for small runs: ``clip``, ``dino``, ``sam``, and ``tiler``.
    """
    from ovperc.backbones.loading import load_clip
    from ovperc.readout import DinoiserHeads, DinoiserReadout
    from ovperc.tasks.methods import load_method
    from ovperc.tasks.segmentation.build import build_segmenter

    config = load_method(method)
    where = {"device": device, "dtype": getattr(torch, dtype)}
    clip = load_clip(towers.get("clip", CLIP_ARCH), "random", pos_embed=config.pos_embed, **where)
    parts: dict[str, Any] = {"tiler": dict(towers.get("tiler", config.tiler))}
    if method == "clip_dinoiser":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            parts["readout"] = DinoiserReadout(heads=DinoiserHeads(clip.backbone.width).eval())
    else:
        parts["guide"] = {**config.guide, "weights": "random", "arch": towers.get("dino", DINO_ARCH)}
    if method == "trident":
        aggregator = {**config.splice["aggregator"], "weights": towers.get("sam", SAM_WEIGHTS)}
        parts["splice"] = {"aggregator": aggregator}
    return build_segmenter(config, clip, **parts)


def benchmark_bank(method: str, embed_dim: int, fingerprint: str) -> TextBank:
    """Random unit rows in the place of the prompts that a method uses for VOC21, with their classes."""
    words = load_class_names(WORDS, method).vocabulary(0.0)
    rows = torch.randn(len(words.owners), embed_dim, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(rows, dim=-1)
    return TextBank(unit, torch.tensor(words.owners), words.names, fingerprint, words.background)


def answering(segmenter: Any, image: Any, bank: Any) -> Callable[[], Any]:
    """The call from array to labels."""
    return lambda: segmenter.segment(segmenter.encode(image), bank)


def bare_towers(segmenter: Any, image: Any) -> Callable[[], None]:
    """Stock forward passes of the method's towers on the tokens that the method gives them."""
    import open_clip
    import timm

    backbone = segmenter.clip.backbone
    geometry = segmenter.tiler.plan(image.shape[:2], backbone.stride_px)
    shape, where = (geometry.num_tiles, 3, *geometry.tile_hw), {"device": backbone.device, "dtype": backbone.dtype}
    model = open_clip.create_model(CLIP_ARCH, pretrained=None, force_image_size=geometry.tile_hw)
    towers = [(model.visual.eval().to(**where), torch.randn(shape, **where))]
    if segmenter.guide is not None:
        dino = timm.create_model(DINO_ARCH, pretrained=False, img_size=geometry.tile_hw, num_classes=0)
        towers.append((dino.eval().to(**where), torch.randn(shape, **where)))
    aggregator = getattr(segmenter, "aggregator", None)
    if aggregator is not None:
        side = aggregator.backbone.image_size_px
        towers.append((aggregator.backbone.tower, torch.randn(1, 3, side, side, **where)))

    def call() -> None:
        with torch.inference_mode():
            for tower, pixels in towers:
                tower(pixels)

    return call


def largest_difference(segmenter: Any, image: Any, bank: TextBank, expected: torch.Tensor) -> float:
    """Largest difference of the classes' scores before the last softmax, as a share of their largest size.

    Args:
        segmenter: the method.
        image: ``(H, W, 3)`` uint8 RGB.
        bank: its words.
        expected: ``(Q, H, W)`` scores of prompts.
    """
    found = segmenter.scores(segmenter.encode(image), bank, raw=True)
    classes = max_by_owner_(torch.full_like(found, -torch.inf), expected, bank.owners)
    return float((found - classes).abs().max() / classes.abs().max())


def refinement_speed(options: Options) -> Iterator[Measurement]:
    """Each method against its plain form: how much faster, and whether the outputs are the same."""
    image = random_image(IMAGE_HW)
    for method, plain in _PLAIN.items():
        segmenter, bank, setting = _prepared(method, options)

        def reference(plain=plain, segmenter=segmenter, bank=bank) -> plain_refinement.PlainAnswer:
            return plain(segmenter, image, bank)

        answer = reference()
        error = largest_difference(segmenter, image, bank, answer.scores)
        agree = (answering(segmenter, image, bank)().labels == answer.labels).float().mean().item()
        ratio = paired_ratio(reference, answering(segmenter, image, bank), options.runs, device=options.device)
        case = "refinement-speed"
        yield Measurement(
            case, f"plain over ours, {setting}", ratio.ratio, "x", _FASTER[method], at_most=False, detail=str(ratio)
        )
        yield Measurement(
            case,
            f"difference of scores, {setting}",
            error,
            "of scale",
            _SCALE_ERROR if options.dtype == "float32" else None,
            detail=f"{100 * agree:.2f} % of labels agree",
        )


def refinement_towers(options: Options) -> Iterator[Measurement]:
    """Each method end to end over the sum of its bare towers on the same tokens."""
    image = random_image(IMAGE_HW)
    for method, limit in _OVER_TOWERS.items():
        segmenter, bank, setting = _prepared(method, options)
        base = bare_towers(segmenter, image)
        ratio = paired_ratio(answering(segmenter, image, bank), base, options.runs, device=options.device)
        yield Measurement(
            "refinement-towers", f"ours over bare towers, {setting}", ratio.ratio, "x", limit, detail=str(ratio)
        )


def refinement_memory(options: Options) -> Iterator[Measurement]:
    """Peak memory of Trident over that of SAM's own forward pass, each in a process of its own."""
    ours, sam = peak_memory(trident_call), peak_memory(sam_call)
    yield Measurement(
        "refinement-memory",
        f"Trident {CLIP_ARCH} + DINO B/16 + SAM-B over SAM-B alone, {IMAGE_HW[0]}x{IMAGE_HW[1]}, fp32, whole process",
        ours.peak_mib / sam.peak_mib,
        "x",
        limit=1.3,
        detail=f"{ours.peak_mib:.0f} MiB over {sam.peak_mib:.0f} MiB; beyond what was loaded "
        f"{ours.extra_mib:.0f} MiB and {sam.extra_mib:.0f} MiB",
    )


def trident_call() -> Callable[[], object]:
    """Trident from array to labels, ready to run."""
    segmenter, bank, _ = _prepared("trident", Options())
    return answering(segmenter, random_image(IMAGE_HW), bank)


def sam_call() -> Callable[[], object]:
    """segment-anything's own encoder on its square, ready to run."""
    from ovperc.backbones.sam import load_sam

    backbone = load_sam(SAM_WEIGHTS)
    side = backbone.image_size_px
    pixels = torch.randn(1, 3, side, side)

    def call() -> object:
        with torch.inference_mode():
            return backbone.tower(pixels)

    return call


def _prepared(method: str, options: Options) -> tuple[Any, Any, str]:
    segmenter = refined_segmenter(method, options.device, options.dtype)
    clip = segmenter.clip
    bank = benchmark_bank(method, clip.backbone.embed_dim, clip.fingerprint).to(options.device)
    others = {"proxyclip": " + DINO B/16", "trident": " + DINO B/16 + SAM-B"}.get(method, "")
    return segmenter, bank, f"{method}, {CLIP_ARCH}{others}, {IMAGE_HW[0]}x{IMAGE_HW[1]}, {len(bank.owners)} prompts"


CASES = tuple(
    Case(run.__name__.replace("_", "-"), (run.__doc__ or "").strip(), run)
    for run in (refinement_speed, refinement_towers, refinement_memory)
)
