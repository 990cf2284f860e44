"""The card of an exported folder: what is in it, how to feed it, what it was measured to do. No torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovperc.core.checksum import file_sha256

FORMAT = "ovperc-export-1"
CARD_NAME, MERGES_NAME = "card.json", "bpe_simple_vocab_16e6.txt.gz"
MODEL_NAME, TEXT_NAME = "model.onnx", "text.onnx"
INPUTS_NAME = "inputs.npz"
EXAMPLE_NAME, EXPECTED_STEM = "example.png", "expected"


class FolderError(ValueError):
    """An exported folder that is incomplete, damaged or of another version; the message names the file."""


@dataclass(frozen=True)
class Profile:
    """Which images a file takes, and the resize that decides it (see :class:`ovperc.tiling.Tiler`).

    Attributes:
        size_hw: the one size, or ``None`` for any size.
        min_side_px: with any size: both sides after the resize must be at least so long.
        short_side_px: rule of the resize; ``None`` for ``scale``.
        max_long_side_px: limit of the longer side after the resize.
        scale: factor of the resize where ``short_side_px`` is ``None``.
        patch_px: stride of the tower; every side is at least so long after the resize.
        whole_patches: both sides are rounded up to whole patches after the resize.
        max_batch: images of one call; 0 for any number.
    """

    size_hw: tuple[int, int] | None = None
    min_side_px: int = 0
    short_side_px: int | None = None
    max_long_side_px: int | None = None
    scale: float = 1.0
    patch_px: int = 1
    whole_patches: bool = False
    max_batch: int = 0

    def check(self, size_hw: tuple[int, int]) -> None:
        """Raises ValueError for an image size that the file does not take."""
        if min(size_hw) < 1:
            raise ValueError(f"an image needs at least one pixel on each side; got height, width {size_hw}")
        if self.size_hw is not None and tuple(size_hw) != self.size_hw:
            height, width = self.size_hw
            raise ValueError(
                f"this file was exported for images of {height} x {width} px (height x width); got {size_hw[0]} x "
                f"{size_hw[1]}. Resize the image, or export with --dynamic"
            )
        if min(self.resized_hw(size_hw)) < self.min_side_px:
            raise ValueError(
                f"an image of {size_hw[0]} x {size_hw[1]} px is too long and narrow for this file: after the resize "
                f"each side must hold a window of {self.min_side_px} px; cut it into pieces, or export with --size"
            )

    def resized_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Size after the resize, by the rule of the tiler."""
        factor = self.scale if self.short_side_px is None else self.short_side_px / min(size_hw)
        if self.max_long_side_px is not None:
            factor = min(factor, self.max_long_side_px / max(size_hw))
        height, width = (max(int(side * factor + 0.5), self.patch_px) for side in size_hw)
        if self.whole_patches:
            return height + -height % self.patch_px, width + -width % self.patch_px
        return height, width


@dataclass(frozen=True)
class FixedWords:
    """Words that are baked into a file: names by label, and the background policy as JSON values."""

    names: tuple[str, ...]
    background_words: tuple[str, ...] = ()
    background_threshold: float = 0.0


@dataclass(frozen=True)
class Card:
    """Everything a runtime, or a person, must know about an exported folder.

    Attributes:
        method: name of the method.
        title: its paper and idea.
        weights: where the weights came from.
        arch: architecture of the towers.
        licence: of the weights.
        fingerprint: of the text encoder; word banks of another one are refused.
        embed_dim: channels ``E`` of the joint space.
        logit_scale: factor of the cosines inside the softmax.
        precision: ``fp32``, ``fp16`` or ``int8``.
        calibration: scenes that fixed the ranges of int8; 0 where every image has its own.
        profile: which images are taken.
        preprocess: mean and deviation per channel; information only, the graph applies them.
        templates: sentences around a word, as :class:`ovperc.text.templates.TemplateSet` takes them.
        mass_nouns: words that take no article in these sentences.
        context_length: tokens of a prompt.
        known_tokens: tokens that the weights have met, where they are not all; other words are answered by chance.
        example_words: what the expected answer of the example image was asked with.
        fixed: words baked into the file, if any.
        opset: of the ONNX graph.
        files: name -> sha256 of every file of the folder but the card.
        parity: figures of the comparison with the eager method; empty until checked.
        latency: figures measured at export; empty until checked.
        version: of ovperc.
        task: ``segmentation``, ``anomaly`` or ``detection``; of the others than the first, words and templates are
            empty where none can be asked.
        settings: what a task has of its own, such as the thresholds of its decision.
    """

    method: str
    title: str
    weights: str
    arch: str
    licence: str
    fingerprint: str
    embed_dim: int
    logit_scale: float
    precision: str
    profile: Profile
    preprocess: Mapping[str, Any]
    templates: tuple[str, ...]
    mass_nouns: tuple[str, ...]
    context_length: int
    example_words: tuple[str, ...]
    version: str
    fixed: FixedWords | None = None
    known_tokens: tuple[int, ...] | None = None
    calibration: int = 0
    opset: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    task: str = "segmentation"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes ``card.json`` with the sha256 of every other file of the folder."""
        files = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.name != CARD_NAME}
        content = {"format": FORMAT, **dataclasses.asdict(dataclasses.replace(self, files=files))}
        (folder / CARD_NAME).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Reads the card of a folder.

        Raises:
            FolderError: no such folder or card, or a card of another version.
        """
        path = Path(folder) / CARD_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FolderError(
                f"{str(folder)!r} is not an exported folder: cannot read {CARD_NAME} ({error}); "
                "make one with tools/export.py"
            ) from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise FolderError(f"{str(path)!r} is not a card of this version ({FORMAT}); export again")
        kind = content.pop("kind", "onnx")
        if kind != "onnx":
            raise FolderError(
                f"{str(folder)!r} holds a torch program ({kind}), which this version no longer runs; where torch is "
                f"installed use ovperc.load({content.get('method')!r}), elsewhere export again as ONNX"
            )
        try:
            profile = Profile(**{name: _tuples(value) for name, value in content.pop("profile").items()})
            fixed = content.pop("fixed")
            fixed = fixed and FixedWords(**{name: _tuples(value) for name, value in fixed.items()})
            plain = {name: _tuples(value) for name, value in content.items()}
            return cls(profile=profile, fixed=fixed, **plain)
        except (KeyError, TypeError, AttributeError) as error:
            raise FolderError(f"{str(path)!r} is damaged: {error}; export again") from error

    def verify(self, folder: Path, names: Iterable[str] | None = None) -> None:
        """Compares files with their sha256.

        Args:
            folder: of the card.
            names: which files; ``None`` for all.

        Raises:
            FolderError: a file is missing or differs.
        """
        for name in self.files if names is None else names:
            path = Path(folder) / name
            if name not in self.files or not path.is_file():
                raise FolderError(f"{name} is missing from {str(folder)!r}; copy the whole folder again")
            if file_sha256(path) != self.files[name]:
                raise FolderError(
                    f"{str(path)!r} is not the file that was exported (its sha256 differs: truncated or changed); "
                    "copy it again"
                )


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
