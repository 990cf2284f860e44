"""What the predictions of all tasks have in common: where they are written, and how they are read again."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ovperc.core.atomic import atomic_write
from ovperc.io.ownership import check_not_source, check_replaceable
from ovperc.io.writers.coco import coco_document
from ovperc.io.writers.labelme import labelme_document

if TYPE_CHECKING:
    from PIL.Image import Image

    from ovperc.io.annotations import ImageAnnotations

P = TypeVar("P", bound="Prediction")
Writer = Callable[[Path], object]


class Prediction(ABC):
    """The answer for one image, in numpy; subclasses are frozen dataclasses.

    Attributes:
        size_hw: height and width of the image, px.
        source: path or name of the image, if it has one.
        method: what made it.
        metadata: anything else to keep with it; must fit JSON to be saved.
        record_format: class attribute, name and version of its JSON record.
        suffixes: class attribute, endings that :meth:`save` and :meth:`load` take as part of the stem's file names.
    """

    size_hw: tuple[int, int]
    source: str | None
    method: str
    metadata: Mapping[str, Any]
    record_format: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = (".png", ".json")

    @abstractmethod
    def summary(self) -> str:
        """One line for a terminal."""

    @abstractmethod
    def draw(self, image: Any, **options: Any) -> Image:
        """The prediction on its image, as :func:`ovperc.io.images.read_image` takes it."""

    @abstractmethod
    def annotations(self) -> ImageAnnotations:
        """Its objects, for annotation formats."""

    def to_coco(self) -> dict[str, Any]:
        """A COCO document of the image, which pycocotools and annotation tools read."""
        return coco_document(self.annotations())

    def to_labelme(self) -> dict[str, Any]:
        """A LabelMe document of the image; outlines have no holes."""
        return labelme_document(self.annotations())

    @abstractmethod
    def files(self, stem: Path, **options: Any) -> dict[Path, Writer]:
        """What :meth:`save` writes: file -> function that writes it to a path; the JSON record is the last."""

    @classmethod
    @abstractmethod
    def from_record(cls: type[P], record: Mapping[str, Any], folder: Path) -> P:
        """A prediction from its JSON record and the files beside it."""

    def save(self, path: str | Path, **options: Any) -> tuple[Path, ...]:
        """Writes all files of the prediction, or none. The image it was made from is never replaced.

        Args:
            path: ``folder/STEM``, with or without one of ``suffixes``; or a folder that exists (or ends in ``/``),
                where the stem is that of the source, or "prediction", and only files that ovperc wrote are replaced.
            **options: of :meth:`files`.

        Returns:
            The files, the JSON record last.

        Raises:
            TypeError: ``metadata`` does not fit JSON.
            FileExistsError: a file is the source, or one of the user's in a folder.
            OSError: the folder cannot be written, or the disk is full.
        """
        files = self.files(self._stem(path), **options)
        check_not_source(files, self.source)
        if _is_folder(path):
            check_replaceable(files)
        with atomic_write(*files) as temporary:
            for write, place in zip(files.values(), temporary, strict=True):
                write(place)
        return tuple(files)

    @classmethod
    def load(cls: type[P], path: str | Path) -> P:
        """Reads what :meth:`save` wrote.

        Args:
            path: ``folder/STEM``, with or without one of ``suffixes``.

        Raises:
            ValueError: a file is missing, corrupt, or not such a record; the message names it.
        """
        stem = _without(Path(path).expanduser(), cls.suffixes)
        record_path = stem.with_name(f"{stem.name}.json")
        try:
            record = json.loads(record_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read {str(record_path)!r}: {error}") from error
        found = cls.format_of(record)
        if found != cls.record_format:
            raise ValueError(
                f"{str(record_path)!r} is not a saved {cls.__name__} of this version: expected format "
                f"{cls.record_format!r}, found {found!r}; save the prediction again"
            )
        try:
            return cls.from_record(record, record_path.parent)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{str(record_path)!r} lacks an entry or does not fit its files: {error}") from error

    @classmethod
    def format_of(cls, record: Any) -> Any:
        """The format that a record names, None where it names none."""
        return record.get("format") if isinstance(record, dict) else None

    def _stem(self, path: str | Path) -> Path:
        if _is_folder(path):
            return Path(path).expanduser() / (Path(self.source.split("?")[0]).stem if self.source else "prediction")
        return _without(Path(path).expanduser(), self.suffixes)


def _is_folder(path: str | Path) -> bool:
    return str(path).endswith(("/", "\\")) or Path(path).expanduser().is_dir()


def json_writer(document: Any, indent: int | None = 1) -> Writer:
    """Writes a document as JSON; it is turned into text now, so that a document that does not fit fails here.

    Raises:
        TypeError: it does not fit JSON.
    """
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    return lambda path: path.write_text(text, encoding="utf-8", errors="backslashreplace")  # as JSON escapes them


def _without(path: Path, suffixes: tuple[str, ...]) -> Path:
    return path.with_suffix("") if path.suffix.lower() in suffixes else path
