"""Sessions of ONNX Runtime: their providers and threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovperc.core.naming import suggest
from ovperc.runtime.manifest import FolderError

if TYPE_CHECKING:
    import onnxruntime

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


@dataclass(frozen=True)
class SessionOptions:
    """How model files are opened.

    Attributes:
        providers: ONNX Runtime's, in order of preference.
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
            wanted: ``"cpu"``, ``"cuda"``, ``"tensorrt"``, or ONNX Runtime's own names (also with options, as
                ``("CUDAExecutionProvider", {"device_id": 1})``); several in order of preference.
            threads: CPU threads; ``None`` for all cores.

        Raises:
            ValueError: an unknown provider, or one that this ONNX Runtime lacks.
            ModuleNotFoundError: ONNX Runtime is not installed.
        """
        import onnxruntime

        entries = [wanted] if isinstance(wanted, str) else list(wanted)
        available = onnxruntime.get_available_providers()
        return cls(tuple(_provider(entry, available) for entry in entries), threads)

    def open(self, path: Path) -> OnnxSession:
        """Opens a model file.

        Raises:
            FolderError: it cannot be opened.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=list(self.providers))
        except Exception as error:
            # ONNX Runtime has no common class for its errors.
            raise FolderError(f"onnxruntime cannot open {str(path)!r}: {error}") from error
        return OnnxSession(session)


class OnnxSession:
    """A session that ignores inputs which its graph does not have; safe between threads.

    Args:
        session: of ONNX Runtime.
    """

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._inputs = {entry.name for entry in session.get_inputs()}

    def run(self, outputs: Sequence[str] | None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs by name (``None`` for all of them) for inputs by name."""
        return self._session.run(outputs, {name: value for name, value in feed.items() if name in self._inputs})


def _provider(entry: Any, available: Sequence[str]) -> Any:
    name, options = (entry, []) if isinstance(entry, str) else (entry[0], list(entry)[1:])
    name = _PROVIDERS.get(name, name)
    if name not in available:
        known = name in _PROVIDERS.values()
        advice = "install onnxruntime-gpu for it" if known else suggest(name, [*_PROVIDERS, *available])
        raise ValueError(f"this onnxruntime has no provider {name!r} (it has {', '.join(available)}); {advice}")
    return (name, *options) if options else name
