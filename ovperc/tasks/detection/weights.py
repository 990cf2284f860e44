"""Stored heads of a detector, with their sizes and the words they were trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ovperc.backbones.loading import ClipModel
from ovperc.core.naming import suggest
from ovperc.tasks.detection.heads import DetectionHeads, HeadSettings
from ovperc.tasks.detection.pyramid import ResNetBackbone
from ovperc.weights.catalogue import CATALOGUE, resolve_weights
from ovperc.weights.errors import READ_ERRORS, CheckpointError

_HEADS, _RESNET = "heads.", "resnet."


@dataclass(frozen=True)
class TrainedHeads:
    """What a training run exported.

    Attributes:
        heads: in evaluation mode.
        resnet: the trained backbone, of detectors that do not read the frozen tower.
        base_words: words that training knew, in lower case.
        compose: whether phrases are the sum of their words.
        fingerprint: of the text encoder it was trained with.
        source: where it came from.
    """

    heads: DetectionHeads
    resnet: ResNetBackbone | None
    base_words: frozenset[str]
    compose: bool
    fingerprint: str
    source: str

    def check(self, clip: ClipModel) -> None:
        """Refuses a dual encoder other than the one the heads were trained with.

        Raises:
            ValueError: naming both.
        """
        if clip.fingerprint != self.fingerprint:
            raise ValueError(
                f"the heads {self.source} were trained with the text encoder {self.fingerprint}, not with that of "
                f"{clip.source} ({clip.fingerprint}): train heads for it ('ovperc train configs/train/fvlm.py') and "
                "pass heads=FILE, or use a method that needs none, such as sam_regions"
            )


def read_heads(weights: str | Path, **options: Any) -> TrainedHeads:
    """Reads the heads of a detector.

    Args:
        weights: a catalogue name, or a ``.safetensors`` file that a training run exported.
        **options: keywords of :class:`DetectionHeads` beside its settings.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown name.
        CheckpointError: a file that holds no such heads.
    """
    rows = [entry.name for entry in CATALOGUE if entry.family == "heads"]
    path = resolve_weights(str(weights)) if str(weights) in rows else Path(weights).expanduser()
    if not path.is_file():
        if path.suffix:
            raise FileNotFoundError(f"there is no file of detector heads {str(path)!r}")
        raise ValueError(f"unknown heads {str(weights)!r}: neither a file nor a name; {suggest(str(weights), rows)}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{str(path)!r} is no safetensors file: {error}") from error
    return heads_of(state, metadata, str(weights), **options)


def heads_of(state: Mapping[str, Tensor], metadata: Mapping[str, str], source: str, **options: Any) -> TrainedHeads:
    """Heads from a table and the texts stored beside it."""
    missing = [key for key in ("heads", "base_words", "fingerprint", "backbone", "compose") if key not in metadata]
    if missing:
        raise CheckpointError(f"{source} holds no heads of a detector: its metadata has no {missing[0]!r}")
    try:
        heads = DetectionHeads(HeadSettings.from_json(metadata["heads"]), **options)
        heads.load_state_dict(_under(state, _HEADS))
        resnet = None
        if metadata["backbone"] != "clip":
            resnet = ResNetBackbone(metadata["backbone"])
            resnet.load_state_dict(_under(state, _RESNET))
            resnet.eval().requires_grad_(False)
        words = frozenset(word.casefold() for word in json.loads(metadata["base_words"]))
        compose = bool(json.loads(metadata["compose"]))
    except READ_ERRORS as error:
        raise CheckpointError(f"the weights of {source} do not fit the sizes stored beside them: {error}") from error
    return TrainedHeads(heads.eval().requires_grad_(False), resnet, words, compose, metadata["fingerprint"], source)


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
