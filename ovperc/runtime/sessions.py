"""Opened model files: onnxruntime's sessions, their providers and threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

from ovperc.core.naming import suggest
from ovperc.runtime.card import FolderError

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


class Session(Protocol):
    """What answers inputs by name."""

    def run(self, outputs: Sequence[str] | None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class SessionOptions:
    """How files are opened.

    Attributes:
        providers: onnxruntime's, in order of preference.
        threads: CPU threads; ``None`` for all cores.
    """

    providers: tuple[Any, ...] = ("CPUExecutionProvider",)
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1; got {self.threads}")

    @classmethod
    def choose(cls, wanted: str | Sequence[Any], threads: int | None = None) -> SessionOptions:
        """Options with providers by name.

        Args:
            wanted: ``"cpu"``, ``"cuda"``, ``"tensorrt"``, or onnxruntime's own names (also with options, as
                ``("CUDAExecutionProvider", {"device_id": 1})``); several in order of preference.
            threads: CPU threads.

        Raises:
            ValueError: an unknown provider, or one that this onnxruntime lacks.
        """
        entries = [wanted] if isinstance(wanted, str) else list(wanted)
        return cls(tuple(map(_provider, entries)), threads)

    def open(self, path: Path) -> Session:
        """Opens a model file.

        Raises:
            FolderError: it cannot be opened.
        """
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        try:
            session = ort.InferenceSession(str(path), options, providers=list(self.providers))
        except Exception as error:
            # onnxruntime has no common class for its errors.
            raise FolderError(f"onnxruntime cannot open {str(path)!r}: {error}") from error
        return OnnxSession(session)


class OnnxSession:
    """A session of onnxruntime that takes no notice of inputs which its graph does not have."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._inputs = {entry.name for entry in session.get_inputs()}

    def run(self, outputs: Sequence[str] | None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Answers inputs by name."""
        return self._session.run(outputs, {name: value for name, value in feed.items() if name in self._inputs})


def _name_of(provider: Any) -> str:
    return provider if isinstance(provider, str) else provider[0]


def _provider(entry: Any) -> Any:
    name, options = _name_of(entry), [] if isinstance(entry, str) else list(entry)[1:]
    name = _PROVIDERS.get(name, name)
    available = ort.get_available_providers()
    if name not in available:
        raise ValueError(
            f"this onnxruntime has no provider {name!r} (it has {', '.join(available)}); "
            + (
                suggest(name, [*_PROVIDERS, *available])
                if name not in _PROVIDERS.values()
                else "install onnxruntime-gpu for it"
            )
        )
    return (name, *options) if options else name
