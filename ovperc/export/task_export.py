"""What the export of a task adds to the folder maker: graph, constants, example and agreement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
import onnx

from ovperc.export.parts import ExportError
from ovperc.runtime.input_spec import InputSpec

if TYPE_CHECKING:
    from ovperc.export.parity import Check
    from ovperc.export.plan import ExportPlan
    from ovperc.export.scenes import Example
    from ovperc.export.tracing import Traced
    from ovperc.text.encoder import TextEncoder
    from ovperc.tiling import Tiler
    from ovperc.tiling.preprocess import Preprocess

PredictorT = TypeVar("PredictorT")
TracedT = TypeVar("TracedT", bound="Traced")


class TaskExport(ABC, Generic[PredictorT, TracedT]):
    """The export of one predictor by one plan.

    Args:
        predictor: in float32 on the CPU.
        plan: what to write.

    Attributes:
        task: name of the task.
        ignored: fields of a plan that this task has no use for.

    Raises:
        ExportError: the method has no exported form, or the plan has an option that the task does not take.
    """

    task: ClassVar[str]
    ignored: ClassVar[tuple[str, ...]] = ()

    def __init__(self, predictor: PredictorT, plan: ExportPlan) -> None:
        self.predictor = predictor
        self.plan = plan
        for name in self.ignored:
            if getattr(plan, name) is not None:
                raise ExportError(f"an export of {self.task} takes no {name}; leave it out")
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Raises ExportError for a method or a plan that cannot be exported."""

    @abstractmethod
    def trace(self) -> TracedT:
        """The modules of the method, in fp32."""

    @abstractmethod
    def calibration_feeds(self) -> list[dict[str, np.ndarray]]:
        """Inputs of the encoder for the calibration images of the plan."""

    @abstractmethod
    def assemble(self, traced: TracedT) -> onnx.ModelProto:
        """The model, from traced modules in any precision."""

    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """Fields of the manifest: ``embed_dim``, ``logit_scale``, ``input_spec``, ``preprocess`` and the task's own."""

    @abstractmethod
    def example(self) -> Example:
        """The image that travels along, and its vocabulary where it can be chosen."""

    @abstractmethod
    def compare(self, exported: Any) -> Check:
        """Eager and exported on the check images of the plan.

        Args:
            exported: the folder, opened.
        """

    def inputs(self) -> Mapping[str, np.ndarray] | None:
        """Constants that travel with the model; ``None`` for tasks that have none."""
        return None

    @property
    def text_encoder(self) -> TextEncoder | None:
        """Whose text tower travels along; ``None`` where the vocabulary is not free."""
        return None


def tiled_input_spec(tiler: Tiler, patch_px: int, size_hw: tuple[int, int] | None) -> InputSpec:
    """Images that a tiler takes, of one size or of any."""
    return InputSpec(
        size_hw=size_hw,
        min_side_px=tiler.crop_px if size_hw is None else 0,
        short_side_px=tiler.short_side_px,
        max_long_side_px=tiler.max_long_side_px,
        scale=tiler.scale,
        patch_px=patch_px,
        whole_patches=tiler.whole_patches,
        follow_long_side=tiler.follow_long_side,
    )


def preprocess_fields(preprocess: Preprocess, resize: str) -> dict[str, Any]:
    """What the graph does to pixels, for the manifest."""
    return {"mean": preprocess.mean, "std": preprocess.std, "colour_order": "RGB", "resize": resize}
