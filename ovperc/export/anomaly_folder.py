"""Makes the folder of an exported anomaly method."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from PIL import Image

from ovperc.core.version import __version__
from ovperc.export.anomaly_export import anomaly_inputs, check_anomaly_exportable, export_anomaly
from ovperc.export.builder import OPSET
from ovperc.export.folder import replaced_folder
from ovperc.export.graph import ExportError
from ovperc.export.parity import Parity, paired_latency
from ovperc.export.quantize import converter
from ovperc.runtime.card import EXAMPLE_NAME, EXPECTED_STEM, INPUTS_NAME, MODEL_NAME, Card, Profile
from ovperc.runtime.segmenter import load

if TYPE_CHECKING:
    from ovperc.runtime.anomaly import ExportedAnomaly
    from ovperc.tasks.anomaly.predictor import AnomalyPredictor

# Pixels are told apart at this quantile of all eager maps of the check.
_QUANTILE = 0.95
_BENCHMARK = "world-anomaly"


@dataclass(frozen=True)
class AnomalyPlan:
    """What to export.

    Attributes:
        object_name: what the images show, for methods whose sentences name it.
        size_hw: the one image size of the file; ``None`` for any size.
        precision: ``fp32``, ``fp16`` or ``int8``.
        check_images: products of the world that eager and exported are compared on; 0 for none.
    """

    object_name: str = "object"
    size_hw: tuple[int, int] | None = None
    precision: str = "fp32"
    check_images: int = 0

    def __post_init__(self) -> None:
        converter(self.precision)
        if not self.object_name.strip():
            raise ExportError("the object needs a name, such as 'metal nut'")


def export_anomaly_folder(predictor: AnomalyPredictor, licence: str, plan: AnomalyPlan, out: Path) -> Card:
    """Exports an anomaly predictor.

    Args:
        predictor: in float32 on the CPU; fitted, where its head remembers images.
        licence: of the weights, for the card.
        plan: what to write.
        out: folder to make, or to replace by a new export.

    Returns:
        The card.

    Raises:
        ExportError: the head has no exported form.
        FileExistsError: ``out`` holds something else.
    """
    check_anomaly_exportable(predictor)
    with replaced_folder(Path(out)) as folder:
        inputs = anomaly_inputs(predictor, plan.object_name)
        model = export_anomaly(predictor, inputs, plan.size_hw, converter(plan.precision))
        onnx.save(model, folder / MODEL_NAME)
        np.savez(folder / INPUTS_NAME, **inputs)
        card = _card(predictor, licence, plan)
        card.write(folder)
        exported = load(folder, verify=False)
        images = product_images(max(plan.check_images, 1), plan.size_hw)
        Image.fromarray(images[-1]).save(folder / EXAMPLE_NAME)
        replace(exported.predict(images[-1]), source=EXAMPLE_NAME).save(folder / EXPECTED_STEM)
        if plan.check_images:
            card = _checked(card, predictor, exported, images)
        card.write(folder)
    return Card.read(out)


def product_images(count: int, size_hw: tuple[int, int] | None = None) -> list[np.ndarray]:
    """Products of the world, flawless and damaged in turn, of one size or of several."""
    import cv2

    from ovperc.data.world.anomaly import WorldAnomaly

    products = WorldAnomaly(good=1, per_kind=1, size_px=112)
    order = np.random.default_rng(7).permutation(len(products))[:count] if count <= len(products) else range(count)
    sides = ((112, 112), (96, 150), (160, 130), (224, 224))
    images = []
    for number, index in enumerate(order):
        height, width = size_hw or sides[number % len(sides)]
        images.append(cv2.resize(products[int(index) % len(products)].image, (width, height)))
    return images


def compare_maps(
    predictor: AnomalyPredictor, exported: ExportedAnomaly, images: list[np.ndarray], precision: str
) -> Parity:
    """Runs both on the same images; pixels agree that lie on the same side of a high quantile of the eager maps.

    Returns:
        ``label_agreement`` of pixels, errors of the map where segmentation has those of the confidence, no mIoU.
    """
    name = exported.card.settings["object_name"]
    eager = [predictor.predict(image, name).map for image in images]
    ours = [exported.predict(image).map for image in images]
    threshold = np.quantile(np.concatenate([values.ravel() for values in eager]), _QUANTILE)
    shares = [((a >= threshold) == (b >= threshold)).mean() for a, b in zip(eager, ours, strict=True)]
    errors = [np.abs(a - b) for a, b in zip(eager, ours, strict=True)]
    return Parity.measured(shares, errors, precision)


def _checked(card: Card, predictor: AnomalyPredictor, exported: ExportedAnomaly, images: list[np.ndarray]) -> Card:
    parity = compare_maps(predictor, exported, images, card.precision).as_dict() | {"benchmark": _BENCHMARK}
    name = card.settings["object_name"]
    latency = {
        "size_hw": images[0].shape[:2],
        **paired_latency(lambda: predictor.predict(images[0], name), lambda: exported.predict(images[0])),
    }
    return replace(card, parity=parity, latency=latency)


def _card(predictor: AnomalyPredictor, licence: str, plan: AnomalyPlan) -> Card:
    info, tiler, preprocess = predictor.info, predictor.tiler, predictor.preprocess
    free = plan.size_hw is None
    return Card(
        method=info.method,
        title=predictor.method.title,
        weights=info.weights,
        arch=info.arch,
        licence=licence,
        fingerprint=info.fingerprint,
        embed_dim=predictor.backbone.embed_dim,
        logit_scale=1.0,
        precision=plan.precision,
        profile=Profile(
            size_hw=plan.size_hw,
            min_side_px=tiler.crop_px if free else 0,
            short_side_px=tiler.short_side_px,
            max_long_side_px=tiler.max_long_side_px,
            scale=tiler.scale,
            patch_px=predictor.backbone.stride_px,
            whole_patches=tiler.whole_patches,
        ),
        preprocess={
            "mean": preprocess.mean,
            "std": preprocess.std,
            "colour_order": "RGB",
            "resize": predictor.method.resize,
        },
        templates=(),
        mass_nouns=(),
        context_length=0,
        example_words=(),
        version=__version__,
        opset=OPSET,
        task="anomaly",
        settings={
            "object_name": plan.object_name,
            "calibration": asdict(predictor.calibration),
            "bounded": predictor.head.bounded,
            "remembered_images": len(predictor.remembered),
        },
    )
