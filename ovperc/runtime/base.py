"""What exported models of every task share: opening, images in, predictions out, streams, pickling. No torch."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from ovperc.runtime.manifest import INPUTS_NAME, MODEL_NAME, FolderError, Manifest, file_in
from ovperc.runtime.sessions import SessionOptions
from ovperc.runtime.streaming import StreamResult, stream

Q = TypeVar("Q")
P = TypeVar("P")


class ExportedModel(ABC, Generic[Q, P]):
    """An exported method; a task adds its arguments (:meth:`query`) and how its outputs are read.

    Safe between threads: a call keeps nothing on the object, and images pass the model one by one, so that no
    prediction depends on its neighbours.

    Args:
        folder: of the files.
        manifest: of the folder.
        options: how the files are opened.

    Raises:
        FolderError: a file is missing or cannot be opened, or a setting of the manifest is out of its range.
    """

    task: ClassVar[str]

    def __init__(self, folder: Path, manifest: Manifest, options: SessionOptions) -> None:
        self.folder = Path(folder)
        self.manifest = manifest
        self._options = options
        self._session = options.open(file_in(folder, MODEL_NAME))

    @classmethod
    def open(cls, folder: Path, manifest: Manifest, options: SessionOptions, verify: bool = True) -> ExportedModel:
        """Opens a folder, after comparing its files with the manifest unless ``verify`` is False.

        Raises:
            FolderError: the folder is incomplete or corrupt.
        """
        if verify:
            manifest.verify(folder, cls.required_files(manifest))
        return cls(folder, manifest, options)

    @classmethod
    def required_files(cls, manifest: Manifest) -> tuple[str, ...]:
        """Files that a folder of this task must hold."""
        return (MODEL_NAME,)

    @abstractmethod
    def query(self, *args: Any, **kwargs: Any) -> Q:
        """The arguments that follow the image in :meth:`predict`, checked and ready for the model."""

    @abstractmethod
    def _answer(self, pixels: np.ndarray, query: Q, source: str | None) -> P:
        """Prediction for ``(H, W, 3)`` uint8 RGB pixels of a size that the model takes."""

    def predict(self, image: Any, *args: Any, **kwargs: Any) -> P:
        """Prediction for one image.

        Args:
            image: path, PIL image, or array ``(H, W, 3)`` uint8 RGB. Frames of OpenCV are BGR: pass
                ``frame[:, :, ::-1]``.
            *args: as for :meth:`query`.
            **kwargs: as for :meth:`query`.

        Raises:
            TypeError, ValueError: an image of another type, or of a size that the model does not take.
        """
        return self._predict(image, self.query(*args, **kwargs))

    def predict_batch(self, images: Sequence[Any], *args: Any, **kwargs: Any) -> list[P]:
        """Predictions for several images, each as by :meth:`predict`."""
        query = self.query(*args, **kwargs)
        return [self._predict(image, query) for image in images]

    def stream(self, frames: Iterable[Any], latest: bool = True) -> Iterator[StreamResult[Any, P]]:
        """Predictions for frames of a camera or video; see :func:`ovperc.runtime.streaming.stream`."""
        return stream(frames, self.predict, latest)

    def _predict(self, image: Any, query: Q) -> P:
        source = str(image) if isinstance(image, (str, Path)) else None
        return self._answer(self.manifest.input_spec.read(image), query, source)

    @property
    def metadata(self) -> dict[str, Any]:
        """What predictions say they were made with."""
        manifest = self.manifest
        return {
            "weights": manifest.weights,
            "arch": manifest.arch,
            "fingerprint": manifest.fingerprint,
            "precision": manifest.precision,
            "ovperc": manifest.version,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (type(self), str(self.folder), self._options.providers, self._options.threads)
        return _reopen, arguments, self._defaults()

    def _defaults(self) -> Mapping[str, Any]:
        """Attributes that a user may have replaced, for a copy in another process."""
        return {}


def _reopen(model_class: type[ExportedModel], folder: str, providers: tuple[Any, ...], threads: int | None) -> Any:
    """Opens a pickled model again by its folder."""
    manifest = Manifest.read(Path(folder))
    return model_class.open(Path(folder), manifest, SessionOptions.choose(providers, threads))


def read_inputs(folder: Path) -> dict[str, np.ndarray]:
    """Constants beside a graph, from ``inputs.npz``.

    Raises:
        FolderError: the file is missing or corrupt.
    """
    path = file_in(folder, INPUTS_NAME)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FolderError(f"cannot read {str(path)!r} ({error}); copy the whole folder again") from error
