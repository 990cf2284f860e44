"""What is traced of an anomaly method: tiles, and what they are compared with, to scores of patches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovperc.export.builder import DOUBLE, INT64, GraphBuilder
from ovperc.export.parts import ExportError, GraphBuilders
from ovperc.tasks.anomaly.patch_memory import PatchMemoryHead
from ovperc.tasks.anomaly.state_texts import StateTexts
from ovperc.tasks.anomaly.text_map import TextMapHead

if TYPE_CHECKING:
    from ovperc.tasks.anomaly.predictor import AnomalyPredictor


class HeadTower(nn.Module, ABC):
    """Tower and head of an anomaly method.

    Args:
        predictor: the method.

    Attributes:
        outputs: names of what it returns; ``grid`` is the first.
        free_rows: the inputs other than the tiles may have any number of rows.

    Raises:
        ExportError: the head has a setting without a form in the graph.
    """

    outputs: ClassVar[tuple[str, ...]]
    free_rows: ClassVar[bool]

    def __init__(self, predictor: AnomalyPredictor) -> None:
        super().__init__()
        self.check(predictor.head)
        self.backbone, self.head = predictor.backbone, predictor.head

    @staticmethod
    @abstractmethod
    def check(head: nn.Module) -> None:
        """Raises ExportError for a head with a setting that has no form in the graph."""

    @staticmethod
    @abstractmethod
    def inputs(predictor: AnomalyPredictor, object_name: str) -> dict[str, np.ndarray]:
        """What tiles are compared with, float32."""

    @staticmethod
    @abstractmethod
    def tile_scores(graph: GraphBuilder, predictor: AnomalyPredictor, answers: Sequence[str]) -> str:
        """Score of every tile, ``(T,)``, from the outputs of the tower."""


HEADS: GraphBuilders[type[HeadTower]] = GraphBuilders("head", "use anomalyclip, clip_baseline or patch_memory")


@HEADS.register(TextMapHead)
class TextMapTower(HeadTower):
    """Tiles and the two text embeddings to scores."""

    outputs = ("grid", "image")
    free_rows = False

    @staticmethod
    def check(head: TextMapHead) -> None:
        """Views are passes of their own."""
        if head.views:
            raise ExportError("turned copies of the image are not exported; pass head.views=False")

    @staticmethod
    def inputs(predictor: AnomalyPredictor, object_name: str) -> dict[str, np.ndarray]:
        """``texts`` ``(2, E)``, normal then anomalous."""
        texts = predictor.texts(object_name)
        return {"texts": torch.stack([texts.normal, texts.anomalous]).float().cpu().numpy()}

    @staticmethod
    def tile_scores(graph: GraphBuilder, predictor: AnomalyPredictor, answers: Sequence[str]) -> str:
        """The head's own."""
        return answers[1]

    def forward(self, tiles: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """``(T, 3, h, w)`` and ``(2, E)``, normal then anomalous, to ``(T, 1, h, w)`` and ``(T,)``, float32."""
        (texts,) = inputs
        features = self.head.read(self.backbone, tiles)
        scores = self.head.score(self.backbone, features, StateTexts(texts[0], texts[1], texts[:0]))
        return scores.grid, scores.image


@HEADS.register(PatchMemoryHead)
class MemoryTower(HeadTower):
    """Tiles and the memory banks to distances."""

    outputs = ("grid",)
    free_rows = True

    @staticmethod
    def check(head: PatchMemoryHead) -> None:
        """There must be something to compare with."""
        if not head.banks:
            raise ExportError("patch memory has seen no normal images; pass --normal FOLDER, or fit(images) first")

    @staticmethod
    def inputs(predictor: AnomalyPredictor, object_name: str) -> dict[str, np.ndarray]:
        """``memory_0``, ... ``(M, D)``, one for each tap."""
        banks = enumerate(predictor.head.banks)
        return {f"memory_{index}": bank.rows.float().cpu().numpy() for index, bank in banks}

    @staticmethod
    def tile_scores(graph: GraphBuilder, predictor: AnomalyPredictor, answers: Sequence[str]) -> str:
        """Mean of the highest patches of each tile."""
        op = graph.op
        flat = graph.reshape(answers[0], graph.size(answers[0], 0), -1)
        share = op("Mul", graph.cast(graph.size(flat, 1), DOUBLE), np.asarray(predictor.head.peak_share, np.float64))
        count = op("Max", graph.cast(op("Round", share), INT64), 1)
        highest, _ = op("TopK", flat, graph.shape(count), outputs=2, axis=1)
        return op("ReduceMean", highest, [1], keepdims=0)

    def forward(self, tiles: Tensor, *banks: Tensor) -> tuple[Tensor, ...]:
        """``(T, 3, h, w)`` and one ``(M, D)`` for each tap to ``(T, 1, h, w)`` float32."""
        head = self.head
        features = head.read(self.backbone, tiles)
        pairs = zip(head.describe(features), banks, strict=True)
        distances = [self._distances(stream.float(), bank) for stream, bank in pairs]
        return (torch.stack(distances).mean(dim=0).unflatten(-1, features.grid_hw)[:, None],)

    def _distances(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """As :meth:`PatchBank.distances` in one piece, ``(T, n, D) -> (T, n)``: a trace cannot count pieces."""
        head = self.head
        if head.metric == "cos":
            table = (1 - F.normalize(tokens, dim=-1) @ rows.T).clamp(min=0)
        else:
            squares = tokens.square().sum(dim=-1, keepdim=True) - 2 * (tokens @ rows.T) + rows.square().sum(dim=1)
            table = squares.clamp(min=0).sqrt()
        count = min(head.neighbours, *(len(bank.rows) for bank in head.banks))
        return table.amin(dim=-1) if count == 1 else table.topk(count, dim=-1, largest=False).values.mean(dim=-1)
