"""Makes the folder of an export: models, tokenizer, card, example; whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ovperc.core.version import __version__
from ovperc.export.builder import OPSET
from ovperc.export.graph import ExportError, check_exportable, takes_one_image
from ovperc.export.parity import Parity, compare, paired_latency
from ovperc.export.quantize import converter, to_static_int8
from ovperc.export.scenes import Example, calibration_windows, check_images, example_scene
from ovperc.export.text_graph import met_tokens
from ovperc.runtime.card import (
    CARD_NAME,
    EXAMPLE_NAME,
    EXPECTED_STEM,
    MERGES_NAME,
    MODEL_NAME,
    TEXT_NAME,
    Card,
    FixedWords,
    Profile,
)
from ovperc.runtime.segmenter import ExportedSegmenter, load

if TYPE_CHECKING:
    from ovperc.core.structures import TextBank
    from ovperc.export.onnx_export import Towers
    from ovperc.tasks.segmentation.predictor import Predictor
    from ovperc.text.encoder import TextEncoder
    from ovperc.text.vocabulary import BackgroundLike, Words


@dataclass(frozen=True)
class ExportPlan:
    """What to export.

    Attributes:
        size_hw: the one image size of the file; ``None`` for any size.
        precision: ``fp32``, ``fp16`` or ``int8``.
        fixed_words: words to bake in; ``None`` leaves them free.
        background: policy of the fixed words.
        check_images: scenes that eager and exported are compared on; 0 for none.
        calibration_images: scenes that fix the ranges of int8; 0 takes them from every image at run time.
    """

    size_hw: tuple[int, int] | None = None
    precision: str = "fp32"
    fixed_words: Words | None = None
    background: BackgroundLike = None
    check_images: int = 0
    calibration_images: int = 0

    def __post_init__(self) -> None:
        converter(self.precision)
        if self.calibration_images < 0 or (self.calibration_images and self.precision != "int8"):
            raise ExportError("calibration fixes the ranges of int8; pass --precision int8 with --calibrate")
        if self.size_hw is not None and min(self.size_hw) < 1:
            raise ValueError(f"size must be positive; got {self.size_hw}")


def export_folder(
    predictor: Predictor, title: str, licence: str, plan: ExportPlan, out: Path, towers: Towers | None = None
) -> Card:
    """Exports a predictor.

    Args:
        predictor: in float32 on the CPU.
        title: of the method, for the card.
        licence: of the weights, for the card.
        plan: what to write.
        out: folder to make. One that holds an earlier export is replaced; any other that is not empty is refused.
        towers: traced before, for the same method, weights and size, to save that time.

    Returns:
        The card, with the figures of the check if one was asked for.

    Raises:
        ExportError: the method has no exported form.
        FileExistsError: ``out`` holds something else.
    """
    check_exportable(predictor.segmenter)
    with replaced_folder(Path(out)) as folder:
        bank = None
        if plan.fixed_words is not None:
            bank = predictor.bank(plan.fixed_words, plan.background)
        example = example_scene(plan.size_hw)
        _write_onnx(predictor, plan, bank, folder, towers)
        if bank is None:
            shutil.copyfile(merges_file(predictor.text_encoder), folder / MERGES_NAME)
        card = _card(predictor, title, licence, plan, bank, example)
        card.write(folder)
        exported = load(folder, threads=None, verify=False)
        _write_example(exported, example, folder)
        if plan.check_images:
            card = _checked(card, predictor, exported, plan, bank)
        card.write(folder)
    return Card.read(out)


def _write_onnx(
    predictor: Predictor, plan: ExportPlan, bank: TextBank | None, folder: Path, towers: Towers | None
) -> None:
    import onnx

    from ovperc.export import onnx_export

    segmenter = predictor.segmenter
    towers = towers or onnx_export.trace_towers(segmenter, plan.size_hw)
    converted = towers.converted(converter(plan.precision))
    if plan.calibration_images:
        windows = calibration_windows(segmenter, plan.calibration_images, plan.size_hw)
        converted = replace(converted, windows=to_static_int8(towers.windows, windows))
    model = onnx_export.assemble(segmenter, converted, plan.size_hw, bank)
    onnx.save(model, folder / MODEL_NAME)
    if bank is None:
        text = onnx_export.export_text(predictor.text_encoder.text_tower)
        onnx.save(text, folder / TEXT_NAME)


def merges_file(encoder: TextEncoder) -> Path:
    """The tokenizer's file that travels along.

    Raises:
        ExportError: the tokenizer is not CLIP's.
    """
    from open_clip.tokenizer import SimpleTokenizer, default_bpe, get_clean_fn

    tokenizer = encoder.text_tower.tokenizer
    if not isinstance(tokenizer, SimpleTokenizer) or tokenizer.clean_fn is not get_clean_fn("lower"):
        raise ExportError(
            f"the tokenizer {type(tokenizer).__name__} of this text tower has no form without its library; "
            "bake the words in with --fixed-words"
        )
    return Path(default_bpe())


def _card(
    predictor: Predictor, title: str, licence: str, plan: ExportPlan, bank: TextBank | None, example: Example
) -> Card:
    segmenter, info = predictor.segmenter, predictor.info
    tiler, preprocess = segmenter.tiler, segmenter.clip.preprocess
    fixed = None
    if bank is not None:
        fixed = FixedWords(bank.names, bank.background.words, bank.background.threshold)
    templates = predictor.text_encoder.templates
    return Card(
        method=info.method,
        title=title,
        weights=info.weights,
        arch=info.arch,
        licence=licence,
        fingerprint=info.fingerprint,
        embed_dim=segmenter.clip.backbone.embed_dim,
        logit_scale=segmenter.classifier.logit_scale,
        precision=plan.precision,
        calibration=plan.calibration_images,
        profile=Profile(
            size_hw=plan.size_hw,
            min_side_px=tiler.crop_px if plan.size_hw is None else 0,
            short_side_px=tiler.short_side_px,
            max_long_side_px=tiler.max_long_side_px,
            scale=tiler.scale,
            patch_px=segmenter.clip.backbone.stride_px,
            whole_patches=tiler.whole_patches,
            max_batch=1 if takes_one_image(segmenter) else 0,
        ),
        preprocess={"mean": preprocess.mean, "std": preprocess.std, "colour_order": "RGB", "resize": "bilinear"},
        templates=templates.patterns,
        mass_nouns=tuple(sorted(templates.mass_nouns)),
        context_length=predictor.text_encoder.text_tower.context_length,
        example_words=example.words,
        version=__version__,
        fixed=fixed,
        known_tokens=known_tokens(predictor.text_encoder) if bank is None else None,
        opset=OPSET,
    )


def known_tokens(encoder: TextEncoder) -> tuple[int, ...] | None:
    """Tokens the text tower has met; ``None`` where it is all of them."""
    met = met_tokens(encoder.text_tower)
    return None if bool(met.all()) else tuple(met.nonzero().flatten().tolist())


def _write_example(exported: ExportedSegmenter, example: Example, folder: Path) -> None:
    """An image, and what the exported file answers to it, to see that a copy works elsewhere."""
    Image.fromarray(example.image).save(folder / EXAMPLE_NAME)
    words = None if exported.card.fixed is not None else list(example.words)
    replace(exported.predict(example.image, words), source=EXAMPLE_NAME).save(folder / EXPECTED_STEM)


def _checked(
    card: Card, predictor: Predictor, exported: ExportedSegmenter, plan: ExportPlan, bank: TextBank | None
) -> Card:
    """The card with figures of eager and exported on scenes of the world."""
    images, classes = check_images(plan.check_images, plan.size_hw)
    words = predictor.bank(list(classes)) if bank is None else bank
    parity = compare(predictor.segmenter, exported, words, images, plan.precision, scored=bank is None)
    image = images[0].image
    segmenter = predictor.segmenter
    latency = {
        "size_hw": image.shape[:2],
        "words": words.num_classes,
        **paired_latency(lambda: segmenter.segment(segmenter.encode(image), words), lambda: exported.predict(image)),
    }
    return replace(card, parity=parity.as_dict(), latency=latency)


def parity_of(card: Card) -> Parity | None:
    """The check's figures, from a card."""
    return Parity.from_dict(card.parity) if card.parity else None


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside ``out`` that takes its place when the block ends well."""
    out = out.expanduser()
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / CARD_NAME).exists())):
        raise FileExistsError(f"{str(out)!r} exists and is no exported folder; choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as parent:
        folder = Path(parent) / "new"
        folder.mkdir()
        yield folder
        if out.exists():
            os.replace(out, Path(parent) / "old")
        os.replace(folder, out)
