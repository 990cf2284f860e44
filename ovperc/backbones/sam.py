"""segment-anything's image encoder as a dense tower, with fused attention, and its loader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.image_encoder import Block, get_rel_pos, window_partition, window_unpartition
from torch import Tensor, nn
from torch.nn import functional as F

from ovperc.backbones.pos_embed import add_pos_embed, check_mode
from ovperc.backbones.token_tower import BlockView, TokenTower
from ovperc.core.naming import suggest
from ovperc.core.structures import DenseFeatures, Tap
from ovperc.weights.checkpoint import count_layers, load_into
from ovperc.weights.errors import CheckpointError
from ovperc.weights.layouts import read_weights
from ovperc.weights.locate import locate_tower

_ROW = {"q": 0, "k": 1, "v": 2}
_BIAS_ELEMENTS = 1 << 24  # 64 MB of float32: one head of 4096 x 4096
_DECODER_HEAD_WIDTH = 32


class SamBlock(BlockView):
    """View of a ``Block``; ``grid_hw`` is needed to run it, as tokens travel flat here."""

    affine_output = True

    def __init__(self, block: Block, grid_hw: tuple[int, int] | None = None) -> None:
        self._block = block
        self._grid_hw = grid_hw
        self.num_heads = block.attn.num_heads

    def ln_1(self, tokens: Tensor) -> Tensor:
        return self._block.norm1(tokens)

    def projection(self, normed: Tensor, point: str) -> Tensor:
        layer = self._block.attn.qkv
        size = layer.out_features // 3
        rows = slice(_ROW[point] * size, (_ROW[point] + 1) * size)
        return F.linear(normed, layer.weight[rows], None if layer.bias is None else layer.bias[rows])

    def attend(self, tokens: Tensor) -> Tensor:
        size = self._block.window_size
        normed = self._block.norm1(tokens).unflatten(1, self._grid_hw)
        if size == 0:
            return tokens + self._attention(normed).flatten(1, 2)
        windows, padded_hw = window_partition(normed, size)
        mixed = window_unpartition(self._attention(windows), size, padded_hw, self._grid_hw)
        return tokens + mixed.flatten(1, 2)

    def _attention(self, x: Tensor) -> Tensor:
        """The stock attention of ``(B, h, w, D)``, heads taken a few at a time so that no ``a x n x n`` is stored."""
        batch, height, width, _ = x.shape
        attention = self._block.attn
        qkv = attention.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2)
        step = max(1, _BIAS_ELEMENTS // (height * width) ** 2)
        parts = []
        for start in range(0, len(query), step):
            rows = slice(start, start + step)
            bias = position_bias(attention, query[rows], (height, width))
            part = [part[None] for part in (query[rows], key[rows], value[rows])]
            parts.append(F.scaled_dot_product_attention(*part, attn_mask=None if bias is None else bias[None])[0])
        mixed = torch.cat(parts).unflatten(0, (batch, self.num_heads)).transpose(1, 2)
        return attention.proj(mixed.reshape(batch, height, width, -1))

    def ln_2(self, tokens: Tensor) -> Tensor:
        return self._block.norm2(tokens)

    def project_out(self, tokens: Tensor) -> Tensor:
        return self._block.attn.proj(tokens)

    def feed_forward(self, tokens: Tensor) -> Tensor:
        return self._block.mlp(self._block.norm2(tokens))

    def run(self, tokens: Tensor) -> Tensor:
        tokens = self.attend(tokens)
        return tokens + self.feed_forward(tokens)


def position_bias(attention: nn.Module, query: Tensor, grid_hw: tuple[int, int]) -> Tensor | None:
    """SAM's decomposed relative positions, ``q_i . (R_row + R_column)``, ``q`` not scaled; ``(m, n, n)`` or None."""
    if not attention.use_rel_pos:
        return None
    height, width = grid_hw
    rows, columns = _position_logits(attention, query, grid_hw)
    return (rows[..., :, None] + columns[..., None, :]).view(len(query), height * width, height * width)


def _position_logits(attention: nn.Module, query: Tensor, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Logits by key row and by key column, ``(m, n, h)`` and ``(m, n, w)``."""
    height, width = grid_hw
    places = query.unflatten(1, grid_hw)
    rows = torch.einsum("bhwc,hkc->bhwk", places, get_rel_pos(height, height, attention.rel_pos_h).to(query.dtype))
    columns = torch.einsum("bhwc,wkc->bhwk", places, get_rel_pos(width, width, attention.rel_pos_w).to(query.dtype))
    return rows.flatten(1, 2), columns.flatten(1, 2)


class SamBackbone(TokenTower):
    """The image encoder of a ``Sam``, at its own square size or any other.

    Tap ``final`` is the neck's output. There is no text side: :meth:`project` gives the tokens back.

    Args:
        sam: segment-anything's model; prompt encoder and mask decoder stay available as ``self.sam``.
        pos_embed: how the position table is resized for other grids than its own.
    """

    num_prefix = 0
    blocks_read_positions = True

    def __init__(self, sam: Sam, pos_embed: str = "size") -> None:
        super().__init__()
        check_mode(pos_embed)
        self.sam = sam
        self.pos_embed = pos_embed
        self.stride_px = int(self.tower.patch_embed.proj.stride[0])
        self.depth = len(self.tower.blocks)
        self.width = self.embed_dim = int(self.tower.patch_embed.proj.out_channels)

    @property
    def tower(self) -> ImageEncoderViT:
        """segment-anything's encoder."""
        return self.sam.image_encoder

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the encoder; prompt encoder and decoder may keep another."""
        return self.tower.patch_embed.proj.weight.dtype

    @property
    def image_size_px(self) -> int:
        """Side of the square that the encoder was trained on."""
        return int(self.tower.img_size)

    def view(self, layer: int, positions: tuple[int, int] | None = None) -> SamBlock:
        return SamBlock(self.tower.blocks[layer], positions)

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int], tuple[int, int]]:
        images, grid_hw = self._whole_patches(images)
        tokens = self.tower.patch_embed(images).flatten(1, 2)
        table = self.tower.pos_embed
        if table is not None:
            native_hw = (table.shape[1], table.shape[2])
            tokens = add_pos_embed(tokens, table[0].flatten(0, 1), 0, grid_hw, self.pos_embed, native_hw)
        return tokens, grid_hw, grid_hw

    def close(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        maps = tokens.unflatten(1, grid_hw).permute(0, 3, 1, 2)
        return self.tower.neck(maps).flatten(2).transpose(1, 2)

    def project(self, tokens: Tensor) -> Tensor:
        return tokens

    def pool(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Mean of the neck's output, ``(B, C)``: SAM has no image embedding of its own."""
        return self.close(tokens, grid_hw).mean(dim=1)

    def stream_attention(
        self, features: DenseFeatures, layer: int = -1, rows: Tensor | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Attention of a block with global attention, one head at a time and only for the rows that are needed.

        Args:
            features: taps that hold ``q`` and ``k`` of the block.
            layer: which block.
            rows: ``(m,)`` query tokens; all of them where left out.

        Yields:
            Head number and ``(B, m, n)`` float32 rows, softmax over all keys; each may be overwritten.

        Raises:
            ValueError: a block whose attention does not leave its window.
        """
        layer = self._resolve_layer(layer)
        block = self.tower.blocks[layer]
        if block.window_size > 0:
            raise ValueError(f"block {layer} attends within windows; blocks with global attention can be streamed")
        query, key = (
            features[Tap(layer, point)].unflatten(-1, (block.attn.num_heads, -1)).float() for point in ("q", "k")
        )
        height, width = features.grid_hw
        for head in range(block.attn.num_heads):
            one, keys = query[:, :, head], key[:, :, head]
            near = one if rows is None else one[:, rows]
            logits = (near * block.attn.scale) @ keys.transpose(1, 2)
            if block.attn.use_rel_pos:
                down, across = _position_logits(block.attn, one, features.grid_hw)
                down, across = (part if rows is None else part[:, rows] for part in (down, across))
                grid = logits.unflatten(2, (height, width))
                grid.add_(down[..., :, None]).add_(across[..., None, :])
            yield head, torch.softmax(logits, dim=-1)


def load_sam(
    weights: str | Path = "sam-mini",
    *,
    pos_embed: str = "size",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> SamBackbone:
    """Loads a SAM of any size; the sizes are read from the shapes.

    Args:
        weights: a catalogue name (``"sam-vit-b"``), an ``hf-hub:`` name, a folder or a file in segment-anything's or
            transformers' layout, or ``"random-vit_b"`` (also ``vit_l``, ``vit_h``): seeded weights for benchmarks.
        pos_embed: how position tables are resized for grids other than the encoder's own.
        device: where it goes.
        dtype: of the encoder's weights; prompt encoder and mask decoder stay in float32. ViT-H overflows in
            float16: use bfloat16.

    Raises:
        ValueError: unknown names, or a file that is no SAM.
        FileNotFoundError: no such file; ``MissingWeightsError`` says what to get and where to put it.
    """
    name = str(weights)
    if name.startswith("random-"):
        sam = _random_sam(name.removeprefix("random-"))
    else:
        state = read_weights(locate_tower(weights, "sam"), "sam").state
        sam = build_sam(infer_sam(state))
        load_into(sam, state, "SAM of these shapes", name)
    if dtype == torch.float16 and sam.image_encoder.patch_embed.proj.out_channels >= 1280:
        raise ValueError("ViT-H overflows in float16; use dtype=torch.bfloat16 or torch.float32")
    sam.image_encoder.to(dtype)
    return SamBackbone(sam.to(device).eval(), pos_embed)


def _random_sam(size: str) -> Sam:
    from segment_anything import sam_model_registry

    if size not in sam_model_registry:
        raise ValueError(f"unknown SAM size {size!r}; {suggest(size, sam_model_registry)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return sam_model_registry[size]()


def infer_sam(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of :func:`build_sam` whose shapes are those of a table.

    Raises:
        CheckpointError: the table is not that of a SAM.
    """
    try:
        width, _, patch, _ = state["image_encoder.patch_embed.proj.weight"].shape
        grid = state["image_encoder.pos_embed"].shape[1]
        depth = count_layers(state, "image_encoder.blocks.")
        reach = [(len(state[f"image_encoder.blocks.{i}.attn.rel_pos_h"]) + 1) // 2 for i in range(depth)]
        return {
            "width": width,
            "depth": depth,
            "num_heads": width // state["image_encoder.blocks.0.attn.rel_pos_h"].shape[1],
            "patch_px": patch,
            "image_px": grid * patch,
            "window": min(reach) if min(reach) < grid else 0,
            "global_layers": tuple(i for i in range(depth) if reach[i] == grid),
            "mlp_ratio": state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0] / width,
            "channels": state["image_encoder.neck.0.weight"].shape[0],
            "mask_channels": state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
            "decoder_layers": count_layers(state, "mask_decoder.transformer.layers."),
            "decoder_mlp": state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
            "masks": state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            "iou_layers": count_layers(state, "mask_decoder.iou_prediction_head.layers."),
            "iou_width": state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        }
    except KeyError as error:
        raise CheckpointError(
            f"these weights are no SAM in segment-anything's layout: there is no {error.args[0]}; the file begins with "
            f"{next(iter(state), 'nothing')}"
        ) from error


def build_sam(settings: Mapping[str, Any]) -> Sam:
    """segment-anything's classes at the sizes of :func:`infer_sam`, with random weights, in eval mode."""
    s, grid = settings, settings["image_px"] // settings["patch_px"]
    encoder = ImageEncoderViT(
        img_size=s["image_px"],
        patch_size=s["patch_px"],
        embed_dim=s["width"],
        depth=s["depth"],
        num_heads=s["num_heads"],
        mlp_ratio=s["mlp_ratio"],
        out_chans=s["channels"],
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=s["window"],
        global_attn_indexes=s["global_layers"],
    )
    prompts = PromptEncoder(s["channels"], (grid, grid), (s["image_px"], s["image_px"]), s["mask_channels"])
    decoder = MaskDecoder(
        transformer_dim=s["channels"],
        transformer=TwoWayTransformer(
            depth=s["decoder_layers"],
            embedding_dim=s["channels"],
            mlp_dim=s["decoder_mlp"],
            num_heads=s["channels"] // _DECODER_HEAD_WIDTH,
        ),
        num_multimask_outputs=s["masks"],
        iou_head_depth=s["iou_layers"],
        iou_head_hidden_dim=s["iou_width"],
    )
    return Sam(encoder, prompts, decoder).eval()
