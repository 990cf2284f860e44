"""Cases of anomaly localization at the sizes of the papers: ViT-L/14@336 at 518 px, seeded random weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.case import Case, Measurement, Options
from benchmarks.foundation import random_image
from ovperc.core.structures import DenseFeatures, Tap
from ovperc.core.timing import paired_ratio

ARCH, SIZE_PX, SIDE_BLOCKS = "ViT-L-14-336", 518, 19
BATCH = 8
_CORNER = (9, 9)


def _clip(options: Options, arch: str = ARCH) -> Any:
    from ovperc.backbones.loading import load_clip

    dtype = getattr(torch, options.dtype)
    return load_clip(arch, "random", pos_embed="bilinear_square", device=options.device, dtype=dtype)


def _prompts(clip: Any) -> Any:
    from ovperc.tasks.anomaly.learned_prompts import LearnedPrompts

    width = clip.text.tower.token_embedding.weight.shape[1]
    return LearnedPrompts(width, contexts=12, depth=min(9, len(clip.text.tower.transformer.resblocks)), deep_length=4)


def _bare_tower(size_px: int, options: Options, arch: str = ARCH) -> nn.Module:
    """open_clip's own visual tower at the same number of tokens."""
    import open_clip

    model = open_clip.create_model(arch, pretrained=None, force_image_size=size_px)
    return model.visual.eval().to(device=options.device, dtype=getattr(torch, options.dtype))


@torch.inference_mode()
def two_path_forward(visual: nn.Module, pixels: Tensor, side_blocks: int) -> Tensor:
    """The second path as the reference runs it: two explicit softmax matrices of N x N in every block of both paths.

    Args:
        visual: open_clip's visual tower at the size of the pixels.
        pixels: ``(B, 3, S, S)``.
        side_blocks: last blocks with a second path.

    Returns:
        ``(B, 1 + n, E)`` patch embeddings of the second path, the class row first.
    """
    x = visual._embeds(pixels)
    z: Tensor | None = None
    blocks = visual.transformer.resblocks
    for layer, block in enumerate(blocks):
        if layer < len(blocks) - side_blocks:
            x = block(x)
            continue
        z = x if z is None else z
        attention = block.attn
        heads = attention.num_heads
        qkv = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        scale = 1 / math.sqrt(query.shape[-1])
        beside = (value @ value.transpose(-1, -2) * scale).softmax(dim=-1) @ value
        stock = (query @ key.transpose(-1, -2) * scale).softmax(dim=-1) @ value
        z = z + block.ls_1(attention.out_proj(beside.transpose(1, 2).flatten(2)))
        x = x + block.ls_1(attention.out_proj(stock.transpose(1, 2).flatten(2)))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
    return visual.ln_post(z) @ visual.proj


def anomalyclip_ratio(options: Options) -> Iterator[Measurement]:
    """AnomalyCLIP, pixels in and map out, over the bare tower's forward on the same tokens."""
    from ovperc.tasks.anomaly.load import build_predictor
    from ovperc.tasks.methods import load_method

    clip = _clip(options)
    method = load_method("anomalyclip")
    texts = {"type": "PromptTexts", "source": _prompts(clip).requires_grad_(False)}
    predictor = build_predictor(dataclasses.replace(method, texts=texts), clip)
    image = random_image((SIZE_PX, SIZE_PX))
    predictor.texts("object")  # two vectors for all images, made once
    tower = _bare_tower(SIZE_PX, options)
    pixels = torch.randn(1, 3, SIZE_PX, SIZE_PX, device=options.device, dtype=getattr(torch, options.dtype))

    def bare() -> None:
        with torch.inference_mode():
            tower(pixels)

    setting = f"{ARCH}, {SIZE_PX} px, one image, {SIDE_BLOCKS} blocks beside the tower"
    ratio = paired_ratio(lambda: predictor.predict(image), bare, options.runs, device=options.device)
    yield Measurement("anomalyclip-ratio", setting, ratio.ratio, "x", limit=1.20, detail=str(ratio))
    plain = paired_ratio(
        lambda: two_path_forward(tower, pixels, SIDE_BLOCKS), bare, max(1, options.runs // 2), device=options.device
    )
    yield Measurement(
        "anomalyclip-ratio",
        f"{setting}, explicit matrices of N x N, for comparison",
        plain.ratio,
        "x",
        detail=str(plain),
    )


def window_loop(backbone: Any, features: DenseFeatures, side: int) -> Tensor:
    """Windows one by one, as the reference runs them; ``(B, windows, E)``."""
    from ovperc.tasks.anomaly.windows import TOKENS, window_index

    tokens, prefix = features[TOKENS], features.num_prefix
    found = []
    for places in window_index(features.grid_hw, side).to(tokens.device):
        hidden = torch.cat([tokens[:, :prefix], tokens[:, prefix:][:, places]], dim=1)
        for layer in range(backbone.depth):
            hidden = backbone.view(layer).run(hidden)
        found.append(backbone.pool(hidden, (side, side)))
    return torch.stack(found, dim=1)


def winclip_windows(options: Options) -> Iterator[Measurement]:
    """WinCLIP's windows one by one over the same windows in one batch; a corner of the grid, of one image."""
    from ovperc.tasks.anomaly.windows import TOKENS, encode_windows, window_index

    backbone = _clip(options).backbone
    whole = (SIZE_PX // backbone.stride_px,) * 2
    pixels = torch.randn(1, 3, *(side * backbone.stride_px for side in _CORNER), device=options.device)
    with torch.inference_mode():
        features = backbone.forward_dense(pixels, [TOKENS])

        def batched() -> None:
            with torch.inference_mode():
                encode_windows(backbone, features, (2, 3))

        def looped() -> None:
            with torch.inference_mode():
                for side in (2, 3):
                    window_loop(backbone, features, side)

        ratio = paired_ratio(looped, batched, max(1, options.runs // 2), device=options.device)
    few, all_ = (sum(len(window_index(grid, side)) for side in (2, 3)) for grid in (features.grid_hw, whole))
    yield Measurement(
        "winclip-windows",
        f"{ARCH}, windows of 2 and 3 patches, {few} of the {all_:,} at {SIZE_PX} px",
        ratio.ratio,
        "x",
        limit=2.0,
        at_most=False,
        detail=f"loop over batch: {ratio}",
    )


def prompt_training(options: Options) -> Iterator[Measurement]:
    """A batch of prompt training that encodes its images over one that reads cached features."""
    from ovperc.training.anomaly_prompts import AnomalyPromptTraining
    from ovperc.training.feature_cache import FeatureBatch, TrainingTaps, encode_for_training

    clip = _clip(options)
    model = AnomalyPromptTraining(clip).to(options.device)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.999))
    taps = TrainingTaps((Tap(-1, "dual", SIDE_BLOCKS),), Tap(-1, "pooled_bare"))
    pixels = torch.randn(BATCH, 3, SIZE_PX, SIZE_PX, device=options.device, dtype=clip.backbone.dtype)
    masks = torch.zeros(BATCH, SIZE_PX, SIZE_PX, dtype=torch.bool)
    masks[::2, 100:160, 200:280] = True
    grid_hw = (SIZE_PX // clip.backbone.stride_px,) * 2

    def encode() -> tuple[list[Tensor], Tensor]:
        with torch.no_grad():
            parts = [encode_for_training(clip.backbone, image[None], taps) for image in pixels]
        return [torch.cat([part[0][0] for part in parts])], torch.cat([part[1] for part in parts])

    def step(patches: list[Tensor], pooled: Tensor) -> None:
        batch = FeatureBatch(tuple(patches), pooled, masks, masks.flatten(1).any(1), ("object",) * BATCH, grid_hw)
        optimiser.zero_grad()
        sum(model(batch).values()).backward()
        optimiser.step()

    patches, pooled = encode()
    cached = [part.to(torch.float16).cpu() for part in patches], pooled.float().cpu()
    ratio = paired_ratio(
        lambda: step(*encode()), lambda: step(*cached), max(1, options.runs // 3), warmup=0, device=options.device
    )
    yield Measurement(
        "prompt-training",
        f"{ARCH}, {SIZE_PX} px, batch {BATCH}: encoded every time over cached",
        ratio.ratio,
        "x",
        limit=8.0,
        at_most=False,
        detail=str(ratio),
    )


_RUNS: tuple[Callable[[Options], Iterator[Measurement]], ...] = (anomalyclip_ratio, winclip_windows, prompt_training)
CASES = tuple(Case(run.__name__.replace("_", "-"), (run.__doc__ or "").strip(), run) for run in _RUNS)
