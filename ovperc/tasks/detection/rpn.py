"""Region proposals with their objectness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers

from ovperc.core.boxes import PyramidAnchors


@dataclass(frozen=True)
class Proposals:
    """Class-agnostic boxes of a batch.

    Attributes:
        boxes: one ``(R_i, 4)`` per image, pixels of the network's input, by falling objectness.
        objectness: one ``(R_i,)`` per image, in 0..1.
    """

    boxes: list[Tensor]
    objectness: list[Tensor]


class ScoredRPN(RegionProposalNetwork):
    """torchvision's region proposal network, which here also returns the scores of its boxes.

    Args:
        channels: of the pyramid.
        anchors: the anchors.
        convs: 3 x 3 convolutions before the two heads.
        before: boxes kept per level before suppression, in training and in testing.
        after: boxes kept per image after it, in training and in testing.
        nms_iou: overlap above which the lesser of two boxes of a level goes; 1 turns suppression off.
        samples: anchors per image that the losses are taken from, half of them positive where there are as many.
    """

    def __init__(
        self,
        channels: int,
        anchors: PyramidAnchors,
        convs: int = 2,
        before: tuple[int, int] = (2000, 1000),
        after: tuple[int, int] = (1000, 1000),
        nms_iou: float = 0.7,
        samples: int = 256,
    ) -> None:
        super().__init__(
            anchors,
            RPNHead(channels, anchors.num_anchors_per_location()[0], conv_depth=convs),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=samples,
            positive_fraction=0.5,
            pre_nms_top_n={"training": before[0], "testing": before[1]},
            post_nms_top_n={"training": after[0], "testing": after[1]},
            nms_thresh=nms_iou,
        )

    def forward(
        self, images: ImageList, pyramid: Sequence[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[Proposals, dict[str, Tensor]]:
        """Proposals, and the losses where ``targets`` are given.

        Args:
            images: sizes of the images inside the batch.
            pyramid: levels ``(B, C, h_i, w_i)``.
            targets: ``dict(boxes=(n_i, 4))`` per image.
        """
        levels = list(pyramid)
        logits, deltas = self.head(levels)
        anchors = self.anchor_generator(images, levels)
        counts = [part[0].numel() for part in logits]
        logits, deltas = concat_box_prediction_layers(logits, deltas)
        boxes = self.box_coder.decode(deltas.detach(), anchors).view(len(anchors), -1, 4)
        proposals = Proposals(*self.filter_proposals(boxes, logits, images.image_sizes, counts))
        if targets is None:
            return proposals, {}
        labels, matched = self.assign_targets_to_anchors(anchors, targets)
        objectness, regression = self.compute_loss(logits, deltas, labels, self.box_coder.encode(matched, anchors))
        return proposals, {"loss_objectness": objectness, "loss_rpn_box": regression}
