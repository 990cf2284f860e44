"""Cases of the foundation: how close each method is to the bare tower, and what words cost.

Real architectures with seeded random weights; arrays in, label maps at the original size out.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.case import Case, Measurement, Options
from benchmarks.memory import peak_memory
from ovperc.core.structures import DenseEmbeddings, TextBank
from ovperc.core.timing import paired_ratio

IMAGE_HW = (448, 592)
ARCH = "ViT-B-16"


def random_bank(num_classes: int, embed_dim: int, fingerprint: str, synonyms: int = 1, seed: int = 0) -> TextBank:
    """A text bank of random unit rows, ``synonyms`` prompts a class."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(num_classes * synonyms, embed_dim, generator=generator)
    owners = torch.arange(num_classes).repeat_interleave(synonyms)
    names = tuple(f"class {index}" for index in range(num_classes))
    return TextBank(torch.nn.functional.normalize(rows, dim=-1), owners, names, fingerprint)


def random_image(size_hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Noise, ``(H, W, 3)`` uint8 RGB."""
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def _segmenter(method: str, options: Options):
    from ovperc.backbones.loading import load_clip
    from ovperc.tasks.methods import load_method
    from ovperc.tasks.segmentation.build import build_segmenter

    config = load_method(method).replace(refiner=None)
    dtype = getattr(torch, options.dtype)
    clip = load_clip(ARCH, "random", pos_embed=config.pos_embed, device=options.device, dtype=dtype)
    return build_segmenter(config, clip, tiler={"type": "Tiler"})


def _bare_tower(options: Options) -> torch.nn.Module:
    """open_clip's own visual tower at the same number of tokens."""
    import open_clip

    model = open_clip.create_model(ARCH, pretrained=None, force_image_size=IMAGE_HW)
    return model.visual.eval().to(device=options.device, dtype=getattr(torch, options.dtype))


def tower_ratio(options: Options) -> Iterator[Measurement]:
    """Method end to end over the bare tower's forward on the same tokens."""
    tower = _bare_tower(options)
    held = ("maskclip", "clearclip", "naclip")
    for method in (*held, "sclip", "clip_surgery"):
        segmenter = _segmenter(method, options)
        bank = random_bank(150, segmenter.clip.backbone.embed_dim, segmenter.clip.fingerprint).to(options.device)
        for batch in (1, 4) if method in held else (1,):
            images = [random_image(IMAGE_HW, seed) for seed in range(batch)]
            pixels = torch.randn(batch, 3, *IMAGE_HW, device=options.device, dtype=getattr(torch, options.dtype))

            def ours(segmenter=segmenter, images=images, bank=bank) -> None:
                for encoded in segmenter.encode_batch(images):
                    segmenter.segment(encoded, bank)

            def base(pixels=pixels) -> None:
                with torch.inference_mode():
                    tower(pixels)

            ratio = paired_ratio(ours, base, options.runs, device=options.device)
            yield Measurement(
                "tower-ratio",
                f"{method}, {ARCH}, {IMAGE_HW[0]}x{IMAGE_HW[1]}, batch {batch}, 150 classes",
                ratio.ratio,
                "x",
                limit=1.10 if method in held else None,
                detail=str(ratio),
            )


def second_vocabulary(options: Options) -> Iterator[Measurement]:
    """New words on an encoded image, the mean of four vocabularies in a row, over the time to encode it."""
    segmenter = _segmenter("maskclip", options)
    backbone, fingerprint = segmenter.clip.backbone, segmenter.clip.fingerprint
    banks = [random_bank(150, backbone.embed_dim, fingerprint, seed=seed).to(options.device) for seed in range(4)]
    image = random_image(IMAGE_HW)
    encoded = segmenter.encode(image)

    def ask() -> None:
        for bank in banks:
            segmenter.segment(encoded, bank)

    ratio = paired_ratio(ask, lambda: segmenter.encode(image), options.runs, device=options.device)
    yield Measurement(
        "second-vocabulary",
        f"{ARCH}, {IMAGE_HW[0]}x{IMAGE_HW[1]}, 150 classes",
        100 * ratio.ratio / len(banks),
        "% of encode",
        limit=3.0,
        detail=f"{len(banks)} vocabularies: {ratio}",
    )


def streaming_call(num_classes: int, synonyms: int, output_hw: tuple[int, int]) -> Callable[[], object]:
    """Prepares one classification of random embeddings; the call that is returned does the work."""
    from ovperc.text.classifier import StreamingClassifier
    from ovperc.tiling import Stitcher, Tiler

    generator = torch.Generator().manual_seed(0)
    geometry = Tiler(short_side_px=448).plan(output_hw, 16)
    grid_hw = tuple(side // 16 for side in geometry.resized_hw)
    patches = torch.randn(1, 512, *grid_hw, generator=generator)
    embeddings = DenseEmbeddings(torch.nn.functional.normalize(patches, dim=1))
    bank = random_bank(num_classes, 512, "benchmark", synonyms)
    classifier, stitcher = StreamingClassifier(logit_scale=40.0), Stitcher(geometry, grid_hw, torch.device("cpu"))

    def call() -> object:
        with torch.inference_mode():
            return classifier(embeddings, bank, stitcher)

    return call


def vocabulary_memory(options: Options) -> Iterator[Measurement]:
    """Peak memory of classification at 1024x2048 with 150 and with 10,000 classes, two synonyms each."""
    output_hw, synonyms = (1024, 2048), 2
    small, large = (
        peak_memory(streaming_call, num_classes=classes, synonyms=synonyms, output_hw=output_hw)
        for classes in (150, 10_000)
    )
    # the text bank itself is input, made before the call, so it counts in "before", not in "extra"
    dense_mib = 10_000 * output_hw[0] * output_hw[1] * 4 / 2**20
    yield Measurement(
        "vocabulary-memory",
        "extra memory, 10,000 classes x 2 synonyms over 150, output 1024x2048",
        large.extra_mib / small.extra_mib,
        "x",
        limit=1.3,
        detail=f"{large.extra_mib:.0f} MiB over {small.extra_mib:.0f} MiB; dense (C, H, W): {dense_mib:,.0f} MiB",
    )
    yield Measurement("vocabulary-memory", "whole process with 10,000 classes", large.peak_mib / 1024, "GiB", limit=3.0)


def import_time(options: Options) -> Iterator[Measurement]:
    """``import ovperc`` over ``import torch``, each in a new interpreter."""

    def imported(module: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", f"import {module}"], check=True)

    ratio = paired_ratio(imported("ovperc"), imported("torch"), options.runs, warmup=1)
    yield Measurement("import-time", "import ovperc over import torch", ratio.ratio, "x", limit=2.5, detail=str(ratio))
    load = "from ovperc.tasks.load import load"
    full = paired_ratio(
        lambda: subprocess.run([sys.executable, "-c", load], check=True), imported("torch"), options.runs, warmup=1
    )
    yield Measurement("import-time", f"{load} over import torch", full.ratio, "x", detail=str(full))


CASES = tuple(
    Case(run.__name__.replace("_", "-"), (run.__doc__ or "").strip(), run)
    for run in (tower_ratio, second_vocabulary, vocabulary_memory, import_time)
)
