"""What a run did, as one JSON file: metrics by name, settings, versions, commit, command, seconds."""

from __future__ import annotations

import json
import math
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ovperc.core.atomic import atomic_write
from ovperc.core.command_line import command_line

PACKAGES = (
    "ovperc", "torch", "torchvision", "numpy", "mmengine", "mmsegmentation", "mmcv-lite", "open_clip_torch", "timm"
)  # fmt: skip


def versions() -> dict[str, str]:
    """Installed versions of Python and of the packages results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The checkout's git commit, with ``+`` where files differ from it; ``None`` outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


def plain(value: Any) -> Any:
    """Turns numpy, torch, paths and dataclasses into what JSON can hold; infinities and NaN become ``None``."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


@dataclass(frozen=True)
class RunSummary:
    """The outcome of one run.

    Attributes:
        kind: ``train`` or ``test``.
        metrics: name -> value; segmentation scores in percent.
        settings: of the run.
        seconds: wall time.
        details: further results, such as scores by class.
        command: the command line.
        versions: of Python and the main packages.
        commit: of the checkout, or ``None``.
        device: ``cpu`` or the GPU's name.
    """

    kind: str
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]
    seconds: float
    details: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = field(default_factory=command_line)
    versions: Mapping[str, str] = field(default_factory=versions)
    commit: str | None = field(default_factory=commit)
    device: str = field(default_factory=lambda: torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")

    def write(self, path: str | Path) -> None:
        """Writes the summary as JSON, whole or not at all."""
        text = json.dumps(plain(self), indent=2, ensure_ascii=False) + "\n"
        with atomic_write(path) as (temporary,):
            temporary.write_text(text, encoding="utf-8")

    def write_all(self, *paths: str | Path | None) -> None:
        """Writes the summary to each path that is given."""
        for path in paths:
            if path is not None:
                self.write(path)
