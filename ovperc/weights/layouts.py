"""The table of checkpoint layouts: each is told by the names of its tensors and brought to the class that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ovperc.weights import clip_layouts, sam_layouts, siglip_layouts, vision_layouts
from ovperc.weights.checkpoint import Checkpoint, Side, State
from ovperc.weights.errors import READ_ERRORS, CheckpointError
from ovperc.weights.locate import WeightsSource
from ovperc.weights.reading import read_checkpoint

_WRAPPERS = ("", "backbone.", "model.", "clip_model.", "clip.", "vit.", "dinov2.", "dinov2_with_registers.")
"""Prefixes under which training scripts and models with a head keep the tower."""
_NEEDED = {
    "clip": "a dual encoder (image and text tower)",
    "vision": "an image tower without words, such as DINO",
    "sam": "a SAM",
}


@dataclass(frozen=True)
class Layout:
    """One way of naming the tensors of a model.

    Attributes:
        name: what the weights are, for messages.
        published: which files and repositories come so, for the documentation.
        family: ``clip``, ``vision`` or ``sam``: which loader runs them; empty for what none runs.
        keys: names that are there in this layout; one that ends with ``*`` stands for any name that begins so.
        convert: from a table, and the JSON files next to it, to a checkpoint; None where there is no class for it.
        absent: names that tell another layout.
        advice: what to use instead, where nothing here runs the weights.
    """

    name: str
    published: str
    family: str
    keys: tuple[str, ...]
    convert: Callable[[State, Side], Checkpoint] | None = None
    absent: tuple[str, ...] = ()
    advice: str = ""

    def fits(self, state: State) -> bool:
        """Whether the names are those of this layout."""
        return all(_present(key, state) for key in self.keys) and not any(_present(key, state) for key in self.absent)


def _present(key: str, state: State) -> bool:
    return any(name.startswith(key[:-1]) for name in state) if key.endswith("*") else key in state


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "OpenAI's CLIP archive",
        "OpenAI's ViT and ResNet `.pt`",
        "clip",
        clip_layouts.OPENAI_SCALARS,
        clip_layouts.from_openai,
    ),
    Layout(
        "Long-CLIP",
        "`longclip-B.pt`, `longclip-L.pt`",
        "clip",
        ("positional_embedding_res", "visual.conv1.weight"),
        clip_layouts.from_long_clip,
    ),
    Layout(
        "RegionCLIP",
        "`regionclip_pretrained-cc_rn50.pth`, `..._rn50x4.pth`",
        "clip",
        ("backbone.attnpool.positional_embedding", "lang_encoder.token_embedding.weight"),
        clip_layouts.from_region_clip,
    ),
    Layout(
        "RegionCLIP's detector",
        "`regionclip_finetuned-*.pth`",
        "",
        ("backbone.attnpool.positional_embedding", "roi_heads.*"),
        advice="it has no text tower; use regionclip_pretrained-cc_rn50.pth, which has both",
    ),
    Layout(
        "transformers' CLIPModel",
        "`openai/clip-*`, `laion/CLIP-*` (`model.safetensors`), TinyCLIP, Long-CLIP, MetaCLIP 2, FG-CLIP",
        "clip",
        ("vision_model.embeddings.class_embedding", "text_model.final_layer_norm.weight", "text_projection.weight"),
        clip_layouts.from_transformers,
    ),
    Layout(
        "transformers' SiglipModel",
        "`google/siglip-*`, `google/siglip2-*` (fixed and flexible resolution), FG-CLIP 2",
        "clip",
        ("vision_model.head.probe", "text_model.head.weight"),
        siglip_layouts.from_transformers,
    ),
    Layout(
        "a dual encoder without its text tower",
        "`CLIPVisionModel`, `SiglipVisionModel` of transformers",
        "",
        ("vision_model.embeddings.patch_embedding.weight",),
        advice="words cannot be compared with it; take the model with both towers (CLIPModel, SiglipModel)",
    ),
    Layout(
        "big_vision's SigLIP",
        "`webli_*.npz`",
        "clip",
        ("params/img/embedding/kernel", "params/txt/head/kernel"),
        siglip_layouts.from_big_vision,
    ),
    Layout(
        "big_vision's SigLIP without its outer table",
        "`webli_*.npz` of older runs",
        "clip",
        ("img/embedding/kernel", "txt/head/kernel"),
        siglip_layouts.from_big_vision,
    ),
    Layout(
        "EVA-CLIP",
        "`EVA02_CLIP_*.pt`, CLIPSelf, DeCLIP, FineCLIP (EVA towers)",
        "clip",
        ("visual.patch_embed.proj.weight", "visual.blocks.0.norm1.weight"),
        clip_layouts.from_eva,
    ),
    Layout(
        "OpenCLIP",
        "every tag of open_clip and OpenCLIP's repositories: LAION, DataComp, DFN, MetaCLIP, CLIPA, timm's SigLIP, "
        "PE-Core, BiomedCLIP, RemoteCLIP, CLIM",
        "clip",
        ("visual.*",),
        clip_layouts.from_open_clip,
    ),
    Layout(
        "Apple's MobileCLIP",
        "`mobileclip_*.pt` of Apple's repository",
        "clip",
        ("image_encoder.model.*", "text_encoder.*"),
        clip_layouts.from_open_clip,
    ),
    Layout(
        "DINOv3 as Meta publishes it",
        "`dinov3_vit*_pretrain_*.pth`",
        "vision",
        ("storage_tokens", "blocks.0.attn.qkv.weight"),
        vision_layouts.from_meta_dinov3,
    ),
    Layout(
        "transformers' ViT and DINOv2",
        "`facebook/dino-vit*`, `facebook/vit-mae-*`, `facebook/dinov2-*`, `facebook/dinov2-with-registers-*`",
        "vision",
        ("embeddings.patch_embeddings.projection.weight", "embeddings.position_embeddings"),
        vision_layouts.from_transformers_vit,
    ),
    Layout(
        "transformers' DINOv3",
        "`facebook/dinov3-vit*`",
        "vision",
        ("embeddings.patch_embeddings.weight", "embeddings.register_tokens"),
        vision_layouts.from_transformers_dinov3,
    ),
    Layout(
        "C-RADIO",
        "`nvidia/C-RADIOv3-*`, `nvidia/C-RADIOv4-*`: the image tower",
        "vision",
        ("radio_model.model.patch_generator.embedder.weight", "radio_model.model.patch_generator.pos_embed"),
        vision_layouts.from_radio,
    ),
    Layout(
        "timm's DINOv3",
        "`timm/vit_*_dinov3.*`",
        "vision",
        ("blocks.0.gamma_1", "patch_embed.proj.weight"),
        vision_layouts.from_timm_eva,
        absent=("pos_embed",),
    ),
    Layout(
        "a plain ViT (timm, DINO, DINOv2, MAE)",
        "`dino_*_pretrain.pth`, `dinov2_*_pretrain.pth`, `mae_pretrain_*.pth`, timm's ViTs",
        "vision",
        ("patch_embed.*", "blocks.0.norm1.weight"),
        vision_layouts.from_plain_vit,
    ),
    Layout(
        "SAM-HQ",
        "`sam_hq_vit_*.pth`",
        "",
        ("image_encoder.patch_embed.proj.weight", "mask_decoder.hf_token.weight"),
        advice="its mask token is not run; without it the file equals sam-vit-b, sam-vit-l or sam-vit-h: use that",
    ),
    Layout(
        "EfficientSAM",
        "`efficient_sam_vit*.pt`",
        "",
        ("image_encoder.patch_embed.proj.weight", "mask_decoder.mask_tokens.weight"),
        absent=("image_encoder.blocks.0.attn.rel_pos_h",),
        advice="its encoder and prompts are other networks; use sam-vit-b",
    ),
    Layout(
        "SAM",
        "`sam_vit_*.pth`",
        "sam",
        ("image_encoder.patch_embed.proj.weight", "mask_decoder.mask_tokens.weight"),
        sam_layouts.from_segment_anything,
    ),
    Layout(
        "transformers' SamModel",
        "`facebook/sam-vit-*`",
        "sam",
        ("vision_encoder.patch_embed.projection.weight", "mask_decoder.mask_tokens.weight"),
        sam_layouts.from_transformers,
    ),
    Layout(
        "MobileSAM",
        "`mobile_sam.pt`",
        "",
        ("image_encoder.patch_embed.seq.0.c.weight",),
        advice="its encoder is TinyViT, not segment-anything's; use sam-vit-b",
    ),
    Layout("SAM 3", "`sam3.pt`", "", ("detector.*", "tracker.*"), advice="it is another network; use sam-vit-h"),
    Layout(
        "SAM 2",
        "`sam2*_hiera_*.pt`",
        "",
        ("image_encoder.trunk.patch_embed.proj.weight",),
        advice="its encoder is another network; use sam-vit-b, sam-vit-l or sam-vit-h",
    ),
)
"""Earlier rows are more particular; the first that fits is taken."""


def find_layout(state: State) -> Layout | None:
    """The layout of a table, or None where no row of the table fits."""
    return next((layout for layout in LAYOUTS if layout.fits(state)), None)


def read_weights(source: WeightsSource, family: str) -> Checkpoint:
    """Reads a checkpoint and brings it to the names of the class that runs it.

    Args:
        source: where the file is, and what the files next to it tell.
        family: what the caller runs: ``clip``, ``vision`` or ``sam``.

    Raises:
        CheckpointError: an unreadable file, an unknown layout, or weights of another family.
    """
    state, layout = _recognise(source)
    if layout is None or layout.convert is None or layout.family != family:
        raise CheckpointError(_refusal(source.label, layout, family, state))
    try:
        return layout.convert(state, source.side)
    except CheckpointError:
        raise
    except READ_ERRORS as error:
        raise CheckpointError(
            f"{source.label} looks like {layout.name}, but is incomplete or does not fit the files next to it "
            f"({source.path}): {error!r}"
        ) from error


def family_of(source: WeightsSource) -> str | None:
    """Which loader runs the weights of a file: ``clip``, ``vision`` or ``sam``; None for an unknown layout."""
    layout = _recognise(source)[1]
    return layout.family if layout else None


def _recognise(source: WeightsSource) -> tuple[State, Layout | None]:
    """The tensors of a file and their layout, or those that a training script keeps under one prefix."""
    if source.path is None:
        raise ValueError(f"{source.label} has no file to read")
    state = read_checkpoint(source.path)
    for prefix in _WRAPPERS:
        inner = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        layout = find_layout(inner)
        if layout is not None:
            return inner, layout
    return state, None


def _refusal(label: str, layout: Layout | None, family: str, state: Mapping) -> str:
    needed = _NEEDED[family]
    if layout is None:
        return f"{label} is in no layout that is known for {needed}; its first tensors are {', '.join(list(state)[:4])}"
    if layout.convert is None:
        return f"{label} holds {layout.name}, which ovperc does not run: {layout.advice}"
    return f"{label} holds {layout.name}: {_NEEDED[layout.family]}, where {needed} is needed"
