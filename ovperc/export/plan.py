"""What to export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovperc.export.parts import ExportError
from ovperc.export.quantize import check_precision

if TYPE_CHECKING:
    from ovperc.text.vocabulary import BackgroundLike, Words


@dataclass(frozen=True)
class ExportPlan:
    """What to export of a method of any task.

    Attributes:
        size_hw: the one image size of the model; ``None`` for any size.
        precision: ``fp32``, ``fp16`` or ``int8``.
        calibration_images: images that fix the activation ranges of int8; 0 takes them from every image at run time.
        check_images: images that eager and exported are compared on; 0 for none.
        fixed_words: vocabulary to bake in (segmentation); ``None`` leaves it free.
        background: policy of the fixed vocabulary.
        object_name: what is inspected (anomaly localization), for methods whose prompts name it.

    Raises:
        ValueError: a value that is out of its range.
        ExportError: options that exclude each other.
    """

    size_hw: tuple[int, int] | None = None
    precision: str = "fp32"
    calibration_images: int = 0
    check_images: int = 0
    fixed_words: Words | None = None
    background: BackgroundLike = None
    object_name: str | None = None

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.calibration_images < 0 or (self.calibration_images and self.precision != "int8"):
            raise ExportError("calibration fixes the ranges of int8; pass --precision int8 with --calibrate")
        if self.check_images < 0:
            raise ValueError(f"a check needs a number of images; got {self.check_images}")
        if self.size_hw is not None and min(self.size_hw) < 1:
            raise ValueError(f"size must be positive; got {self.size_hw}")
        if self.background is not None and self.fixed_words is None:
            raise ExportError("a background belongs to --fixed-words; free vocabularies get their policy at run time")
        if self.object_name is not None and not self.object_name.strip():
            raise ExportError("the object needs a name, such as 'metal nut'")
