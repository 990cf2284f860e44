"""The manifest of an exported folder: what it holds, how to feed it, and how it was measured. No torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovperc.core.background import Background
from ovperc.core.checksum import file_sha256
from ovperc.runtime.card import CARD_NAME, convert_card
from ovperc.runtime.input_spec import InputSpec

FORMAT = "ovperc-export-2"
MANIFEST_NAME, MERGES_NAME = "manifest.json", "bpe_simple_vocab_16e6.txt.gz"
MODEL_NAME, TEXT_NAME, INPUTS_NAME = "model.onnx", "text.onnx", "inputs.npz"
EXAMPLE_NAME, EXPECTED_STEM = "example.png", "expected"
PRECISIONS: tuple[str, ...] = ("fp32", "fp16", "int8")
_MAX_BYTES = 2**24
_MAX_LOGIT_SCALE = 1000.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEXTS = ("method", "title", "weights", "arch", "licence", "fingerprint", "precision", "version", "task")
_TEXT_LISTS = ("templates", "mass_nouns", "example_words")


class FolderError(ValueError):
    """An exported folder that is incomplete, corrupt or of another version; the message names the file."""


@dataclass(frozen=True)
class FixedVocabulary:
    """A vocabulary that is baked into a model.

    Attributes:
        names: label -> name.
        background: its policy.
    """

    names: tuple[str, ...]
    background: Background = field(default_factory=Background)


@dataclass(frozen=True)
class Manifest:
    """What a runtime, or a person, must know about an exported folder.

    Attributes:
        method: name of the method.
        title: its paper and idea.
        task: ``segmentation``, ``anomaly`` or ``detection``.
        weights: where the weights came from.
        arch: architecture of the towers.
        licence: of the weights.
        fingerprint: of the text encoder; text banks of another one are refused.
        embed_dim: channels ``E`` of the joint space.
        logit_scale: factor of the cosines inside the softmax.
        precision: ``fp32``, ``fp16`` or ``int8``.
        input_spec: which images are taken.
        preprocess: mean and deviation per channel; information only, the graph applies them.
        version: of ovperc.
        templates: prompts around a class name, as :class:`ovperc.text.templates.TemplateSet` takes them; empty where
            no text tower is in the folder.
        mass_nouns: words that take no article in these prompts.
        context_length: tokens of a prompt.
        known_tokens: tokens that the weights were trained on, where they are not all.
        example_words: vocabulary of the expected answer to the example image.
        fixed: vocabulary that is baked into the model, if any.
        calibration: images that fixed the activation ranges of int8; 0 where every image has its own.
        opset: of the ONNX graph.
        parity: figures of the comparison with the eager method; empty until checked.
        latency: figures measured at export; empty until checked.
        settings: what a task has of its own, such as the thresholds of its decision.
        files: name -> sha256 of every other file of the folder.

    Raises:
        ValueError: a field that is out of its range.
    """

    method: str
    title: str
    task: str
    weights: str
    arch: str
    licence: str
    fingerprint: str
    embed_dim: int
    logit_scale: float
    precision: str
    input_spec: InputSpec
    preprocess: Mapping[str, Any]
    version: str
    templates: tuple[str, ...] = ()
    mass_nouns: tuple[str, ...] = ()
    context_length: int = 0
    known_tokens: tuple[int, ...] | None = None
    example_words: tuple[str, ...] = ()
    fixed: FixedVocabulary | None = None
    calibration: int = 0
    opset: int = 0
    parity: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _TEXTS:
            _expect(isinstance(getattr(self, name), str), name, "text", getattr(self, name))
        lists = {name: getattr(self, name) for name in _TEXT_LISTS}
        if self.fixed is not None:
            lists["fixed.names"] = self.fixed.names
        for name, values in lists.items():
            _expect(isinstance(values, tuple) and all(isinstance(v, str) for v in values), name, "texts", values)
        _expect(self.precision in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}", self.precision)
        _expect(_whole(self.embed_dim, 1), "embed_dim", "a number of channels", self.embed_dim)
        _expect(_whole(self.context_length), "context_length", "a number of tokens", self.context_length)
        scale = self.logit_scale
        valid = isinstance(scale, (int, float)) and math.isfinite(scale) and 0 < scale <= _MAX_LOGIT_SCALE
        _expect(valid, "logit_scale", f"a number above 0 and at most {_MAX_LOGIT_SCALE:g}", scale)
        tokens = self.known_tokens or ()
        _expect(all(map(_whole, tokens)), "known_tokens", "token ids", "other values")
        for name in ("preprocess", "parity", "latency", "settings", "files"):
            _expect(isinstance(getattr(self, name), Mapping), name, "an object", getattr(self, name))
        for name, digest in self.files.items():
            _expect(is_plain_name(name), "files", "names of files of the folder itself", name)
            _expect(isinstance(digest, str) and bool(_SHA256.fullmatch(digest)), f"files[{name!r}]", "a sha256", digest)

    def write(self, folder: Path) -> None:
        """Writes ``manifest.json`` with the sha256 of every other file of the folder, and of the manifest itself."""
        files = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST_NAME}
        content = {"format": FORMAT, **dataclasses.asdict(dataclasses.replace(self, files=files))}
        content["sha256"] = _digest(content)
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path, verify: bool = True) -> Manifest:
        """Reads the manifest of a folder, also the ``card.json`` of earlier versions.

        Args:
            folder: the exported folder.
            verify: compare the manifest with its own sha256; a ``card.json`` has none.

        Raises:
            FolderError: no such folder or manifest, one of another version, or one that was changed.
        """
        name = MANIFEST_NAME if (Path(folder) / MANIFEST_NAME).exists() else CARD_NAME
        content = _read_json(Path(folder), name)
        if name == CARD_NAME:
            try:
                content = convert_card(content)
            except ValueError as error:
                raise FolderError(f"{str(Path(folder) / name)!r} cannot be used: {error}") from error
        elif content.pop("format", None) != FORMAT:
            raise FolderError(f"{str(folder)!r} has no manifest of this version ({FORMAT}); export again")
        digest = content.pop("sha256", None)
        if verify and name == MANIFEST_NAME and digest != _digest({"format": FORMAT, **content}):
            raise FolderError(
                f"the manifest of {str(folder)!r} was changed after the export (its sha256 differs); copy the folder "
                "again, or open it with verify=False if the change is your own"
            )
        try:
            spec = InputSpec(**_tuples(content.pop("input_spec")))
            fixed = content.pop("fixed")
            if fixed is not None:
                fixed = FixedVocabulary(tuple(fixed["names"]), Background(**_tuples(fixed["background"])))
            return cls(input_spec=spec, fixed=fixed, **_tuples(content))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise FolderError(f"the manifest of {str(folder)!r} is corrupt: {error}; export again") from error

    def verify(self, folder: Path, required: Iterable[str] = ()) -> None:
        """Compares every file of the manifest with its sha256.

        Args:
            folder: of the manifest.
            required: files that the manifest must list.

        Raises:
            FolderError: a file is missing or differs, or is not listed.
        """
        for name in required:
            if name not in self.files:
                raise FolderError(f"the manifest of {str(folder)!r} does not list {name}; export again")
        for name, digest in self.files.items():
            path = file_in(folder, name)
            if file_sha256(path) != digest:
                raise FolderError(
                    f"{str(path)!r} is not the file that was exported (its sha256 differs: truncated or changed); "
                    "copy it again"
                )


def file_in(folder: Path, name: str) -> Path:
    """A file of an exported folder.

    Raises:
        FolderError: there is none, or it is a link to somewhere else.
    """
    path = Path(folder) / name
    if not is_plain_name(name) or not path.is_file():
        raise FolderError(f"{name} is missing from {str(folder)!r}; copy the whole folder again")
    if not path.resolve().is_relative_to(Path(folder).resolve()):
        raise FolderError(f"{str(path)!r} is a link that leaves the folder; copy the file itself")
    return path


def is_plain_name(name: object) -> bool:
    """Whether a name is that of a file in the folder itself: no separators, no parent, no drive."""
    return isinstance(name, str) and bool(name) and not name.startswith(".") and not re.search(r"[/\\:\0]", name)


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise FolderError(
            f"{str(folder)!r} is not an exported folder: cannot read {name} ({error}); make one with ovperc export"
        ) from error
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a manifest without its own ``sha256``."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}


def _whole(value: object, least: int = 0) -> bool:
    return type(value) is int and value >= least


def _expect(valid: bool, name: str, expected: str, value: object) -> None:
    if not valid:
        raise ValueError(f"{name} must be {expected}; got {value!r}")
