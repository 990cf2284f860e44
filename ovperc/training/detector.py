"""Training of detectors with a text classifier, as an mmengine model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor

from ovperc.backbones.loading import ClipModel, load_clip
from ovperc.core.boxes import enlarge_boxes
from ovperc.core.naming import suggest
from ovperc.core.structures import TextBank
from ovperc.data.detection.batch import DetectionBatch
from ovperc.readout.regions import encode_crops
from ovperc.registry import FUNCTIONS, MODELS
from ovperc.tasks.detection.heads import DetectionHeads, HeadSettings
from ovperc.tasks.detection.phrases import composed_bank
from ovperc.tasks.detection.prediction import DetPrediction
from ovperc.tasks.detection.pyramid import FrozenClipBackbone, ResNetBackbone, TowerMaps
from ovperc.tasks.detection.region_detector import RegionDetector, VlmReadout
from ovperc.tasks.detection.weights import TrainedHeads
from ovperc.text.encoder import TextEncoder
from ovperc.text.region_scores import Fusion
from ovperc.text.vocabulary import Vocabulary
from ovperc.tiling import Tiler
from ovperc.training.losses.detection import embedding_distillation
from ovperc.training.region_losses import RegionSampler, region_losses
from ovperc.training.teachers import normalized


@dataclass(frozen=True)
class DistillBranch:
    """ViLD's image branch (Gu et al., ICLR 2022, section 3.2): region embeddings follow CLIP's of the same crops.

    Attributes:
        weight: of the loss.
        loss: ``l1`` or ``cosine``.
        regions: proposals per image that are taught where the batch brings none of its own.
        crop_px: side that CLIP's crops are brought to.
        contexts: box sizes, in units of the box, whose embeddings are summed.
    """

    weight: float = 0.5
    loss: Literal["l1", "cosine"] = "l1"
    regions: int = 32
    crop_px: int = 224
    contexts: tuple[float, ...] = (1.0, 1.5)


@MODELS.register_module()
class OpenVocabDetector(BaseModel):
    """Neck, proposals and region heads on a frozen CLIP tower (F-VLM, F-ViT) or a ResNet (ViLD).

    The frozen tower is no part of the state: a checkpoint holds what is trained. Several vocabularies can be learnt
    at once: an object is then named in each of them, and the classification loss is their mean.

    Args:
        clip: ``dict(arch=..., weights=...)`` for ``load_clip``, or a loaded model.
        vocabularies: lists of words, one for each column of the labels; or the name of a registered function that
            gives them. Only words that training may know.
        heads: fields of `HeadSettings`; sizes that follow from the tower may be left out.
        backbone: ``clip``, or the name of a ResNet, trained with the heads.
        templates: prompt set; left out, that of the weights, or ``openai80``.
        proposals: keywords of `DetectionHeads` beside its settings.
        samples: regions per image that the heads learn from.
        positive_share: most of them that show objects.
        background_weight: of the classification loss of background.
        mask_samples: most regions per image whose masks are learnt.
        distill: fields of `DistillBranch`; None trains none.
        compose: phrases are the sum of their words (:func:`ovperc.tasks.detection.phrases.composed_bank`).
    """

    def __init__(
        self,
        clip: dict[str, Any] | ClipModel,
        vocabularies: Sequence[Sequence[str]] | str,
        heads: dict[str, Any],
        backbone: str = "clip",
        templates: str | Sequence[str] | None = None,
        proposals: dict[str, Any] | None = None,
        samples: int = 512,
        positive_share: float = 0.25,
        background_weight: float = 0.9,
        mask_samples: int = 128,
        distill: dict[str, Any] | None = None,
        compose: bool = False,
    ) -> None:
        super().__init__()
        clip = load_clip(**clip) if isinstance(clip, dict) else clip
        self.compose = compose
        self.words = _read_vocabularies(vocabularies)
        self.resnet = None if backbone == "clip" else ResNetBackbone(backbone)
        settings = complete_settings(heads, clip, self.resnet)
        self.heads = DetectionHeads(settings, **(proposals or {}))
        self.sampler = RegionSampler(samples, positive_share)
        self.background_weight = background_weight
        self.mask_samples = mask_samples
        self.distill = None if distill is None else DistillBranch(**distill)
        if (self.distill is None) != (settings.distill == "none"):
            raise ValueError("distill and heads.distill go together: set both, or leave both out")
        encoder = TextEncoder(clip.text, clip.fingerprint, templates or "openai80")
        embed = partial(composed_bank, encoder) if compose else encoder
        banks = [embed(Vocabulary.parse(list(part))) for part in self.words]
        tower = None if self.resnet is not None else FrozenClipBackbone(clip.backbone, settings.layers)
        # in a tuple, so that torch does not take the frozen towers for parts of the model
        self._frozen = (clip, tower, banks)

    @property
    def banks(self) -> list[TextBank]:
        """The embedded vocabularies."""
        return self._frozen[2]

    def extract(self, images: Tensor) -> TowerMaps:
        """Maps of normalised images ``(B, 3, H, W)``."""
        return self.resnet(images) if self.resnet is not None else self._frozen[1](images)

    def forward(self, batch: DetectionBatch, mode: str = "loss") -> Any:
        """What mmengine asks of a model.

        Args:
            batch: images, and what is in them.
            mode: ``loss`` for losses by name, ``predict`` for a :class:`DetPrediction` of each image in the words of
                the first vocabulary, ``tensor`` for the levels of the feature pyramid.
        """
        if mode not in ("loss", "predict", "tensor"):
            raise ValueError(f"mode must be 'loss', 'predict' or 'tensor'; got {mode!r}")
        device = next(self.heads.parameters()).device
        self._follow(device)
        if mode == "predict":
            return self._predict(batch)
        batch = batch.to(device)
        images = normalized(batch.images.float() / 255, self._frozen[0])
        pyramid = self.heads.neck(self.extract(images).levels)
        if mode == "tensor":
            return pyramid
        return self._losses(batch, images, pyramid)

    def detector(self, **options: Any) -> RegionDetector:
        """The heads as they stand, ready for images; options as for :class:`RegionDetector`."""
        clip, words = self._frozen[0], frozenset(word.casefold() for part in self.words for word in part)
        trained = TrainedHeads(self.heads, self.resnet, words, self.compose, clip.fingerprint, "the model in training")
        settings = {"fusion": Fusion("text"), "vlm": VlmReadout("off"), **options}
        return RegionDetector(clip, Tiler(whole_patches=True), trained, **settings)

    def _predict(self, batch: DetectionBatch) -> list[DetPrediction]:
        """Text scores of the first vocabulary, all of whose words training knows."""
        detector, bank = self.detector(), self.banks[0]
        predictions = []
        for image in batch.images:
            encoded = detector.encode(image.permute(1, 2, 0).contiguous().cpu().numpy())
            found = detector.detect(encoded, bank, [True] * bank.num_classes)
            boxes, scores, labels = encoded.boxes[found.rows].cpu(), found.scores.cpu(), found.labels.cpu()
            masks = None if encoded.masks is None else encoded.masks.codes(found.rows.tolist())
            predictions.append(
                DetPrediction(boxes.numpy(), scores.numpy(), labels.numpy(), bank.names, encoded.size_hw, masks)
            )
        return predictions

    def _follow(self, device: torch.device) -> None:
        """Brings the frozen parts to the device of the trained ones."""
        clip, tower, banks = self._frozen
        if clip.backbone.device != device:
            clip.backbone.to(device)
            self._frozen = (clip, tower, [bank.to(device) for bank in banks])

    def _losses(self, batch: DetectionBatch, images: Tensor, pyramid: list[Tensor]) -> dict[str, Tensor]:
        size_hw = (images.shape[-2], images.shape[-1])
        proposals, losses = self.heads.propose(pyramid, size_hw, batch.boxes)
        regions = self.sampler(proposals.boxes, batch)
        taught, teachers = self._teach(images, proposals.boxes, batch)
        embeddings, deltas, students = self._describe(pyramid, regions.boxes, taught)
        losses |= region_losses(
            self.heads,
            pyramid,
            regions,
            embeddings,
            deltas,
            batch,
            self.banks,
            self.background_weight,
            self.mask_samples,
        )
        if self.distill is not None:
            losses["loss_distill"] = self.distill.weight * embedding_distillation(students, teachers, self.distill.loss)
        return losses

    def _describe(
        self, pyramid: list[Tensor], sampled: list[Tensor], taught: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Embeddings and deltas of the sampled regions, and the image branch's embeddings of the taught ones.

        With one shared branch, both kinds of region are pooled and described together (ViLD).
        """
        heads = self.heads
        if heads.settings.distill != "shared":
            embeddings, deltas = heads.region_head(heads.pool_boxes(pyramid, sampled))
            students = None if self.distill is None else heads.image_head(heads.pool_boxes(pyramid, taught))[0]
            return embeddings, deltas, students
        pairs = list(zip(sampled, taught, strict=True))
        embeddings, deltas = heads.region_head(heads.pool_boxes(pyramid, [torch.cat(pair) for pair in pairs]))
        is_taught = torch.cat([torch.arange(len(a) + len(b), device=deltas.device) >= len(a) for a, b in pairs])
        return embeddings[~is_taught], deltas[~is_taught], embeddings[is_taught]

    @torch.no_grad()
    def _teach(
        self, images: Tensor, proposals: list[Tensor], batch: DetectionBatch
    ) -> tuple[list[Tensor], Tensor | None]:
        """Boxes of each image that the image branch learns on, and CLIP's embeddings of all of them."""
        if self.distill is None:
            return [boxes[:0] for boxes in proposals], None
        if batch.regions is not None and batch.features is not None:
            return list(batch.regions), torch.cat(batch.features)
        size_hw = (images.shape[-2], images.shape[-1])
        boxes = [
            torch.cat([truth, found])[: self.distill.regions]
            for truth, found in zip(batch.boxes, proposals, strict=True)
        ]
        rows = [
            teacher_embeddings(self._frozen[0], image, part, size_hw, self.distill)
            for image, part in zip(images, boxes, strict=True)
        ]
        return boxes, torch.cat(rows)

    def export_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What was trained; names of the frozen tower do not occur."""
        return {name: value for name, value in state.items() if name.startswith(("heads.", "resnet."))}

    def export_metadata(self) -> dict[str, str]:
        """Sizes of the heads, the tower they were trained on, and the words they know."""
        words = list(dict.fromkeys(word for part in self.words for word in part))
        return {
            "heads": self.heads.settings.to_json(),
            "base_words": json.dumps(words),
            "fingerprint": self._frozen[0].fingerprint,
            "compose": json.dumps(self.compose),
            "backbone": "clip" if self.resnet is None else self.resnet.arch,
        }


def _read_vocabularies(vocabularies: Sequence[Sequence[str]] | str) -> tuple[tuple[str, ...], ...]:
    if isinstance(vocabularies, str):
        function = FUNCTIONS.get(vocabularies)
        if function is None:
            raise ValueError(
                f"no function {vocabularies!r} gives vocabularies; {suggest(vocabularies, FUNCTIONS.module_dict)}"
            )
        vocabularies = function()
    return tuple(tuple(words) for words in vocabularies)


def teacher_embeddings(
    clip: ClipModel, image: Tensor, boxes: Tensor, size_hw: tuple[int, int], branch: DistillBranch
) -> Tensor:
    """CLIP's embeddings of crops at several contexts, summed and normalised, ``(P, E)``."""
    views = [
        encode_crops(clip, image, enlarge_boxes(boxes, context, size_hw), branch.crop_px) for context in branch.contexts
    ]
    return torch.nn.functional.normalize(torch.stack(views).sum(dim=0), dim=1)


def complete_settings(heads: dict[str, Any], clip: ClipModel, resnet: ResNetBackbone | None) -> HeadSettings:
    """Head settings with what follows from the tower: channels, strides and the joint space."""
    settings = {"embed_dim": clip.backbone.embed_dim, **heads}
    if resnet is not None:
        known = {"in_channels": resnet.channels, "stride_px": resnet.strides, "scales": (1.0,) * 4, "layers": ()}
        return HeadSettings(**{**known, **settings})
    if not settings.get("layers"):
        raise ValueError("heads.layers must name the blocks of the frozen tower to read, such as (1, 3, -1)")
    depth, count = clip.backbone.depth, len(settings["layers"])
    settings["layers"] = tuple(layer % depth for layer in settings["layers"])
    known = {"in_channels": (clip.backbone.width,) * count, "stride_px": clip.backbone.stride_px}
    return HeadSettings(**{**known, **settings})
