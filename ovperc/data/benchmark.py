"""Declaration of benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ovperc.core.naming import suggest
from ovperc.data.anomaly.layouts import AnomalyLayout
from ovperc.data.layout import Layout

ON_DISK: Mapping[str, Any] = {"root": None, "partial": False}
"""Options of all benchmarks read from files."""


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
        name: file name.
        url: download URL.
        digest: ``"md5:..."`` or ``"sha1:..."`` if published.
        note: remark on the download.
    """

    name: str
    url: str
    digest: str = ""
    note: str = ""


@dataclass(frozen=True)
class Source:
    """The files of one or several benchmarks.

    Attributes:
        folders: possible names of the data set's root within a folder of data sets, the usual one first.
        citation: paper.
        licence: licence terms.
        archives: files to download, unpacked as published.
        homepage: homepage, if there is no direct download.
        unpack: instructions for unpacking, if not obvious.
        layout: layout of the evaluated split: images and label maps, or the categories of an anomaly data set.
        conversion: name of the conversion that creates its label maps; empty if none is needed.
    """

    folders: tuple[str, ...] = ()
    citation: str = ""
    licence: str = ""
    archives: tuple[Archive, ...] = ()
    homepage: str = ""
    unpack: str = ""
    layout: Layout | AnomalyLayout | None = None
    conversion: str = ""


@dataclass(frozen=True)
class Benchmark:
    """A test set with its evaluation settings.

    Attributes:
        name: name on the command line.
        title: one-line description.
        open: opens the images; takes ``options`` as keywords.
        options: default options; ``data.NAME=VALUE`` on the command line overrides them.
        source: files; None for generated images.
        task: task of the methods it evaluates.
        evaluation: evaluation (a key of ``ovperc.evaluation.table.EVALUATIONS``), if it differs from the task.
        weights: method -> weights of a run that names none, ``*`` for the methods not listed; the method's own default
            if neither is given.
    """

    name: str
    title: str
    open: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    source: Source | None = None
    task: str = "segmentation"
    evaluation: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)

    def default_weights(self, method: str) -> str | None:
        """Weights of a run of the method that names none; None leaves them to the method."""
        return self.weights.get(method, self.weights.get("*"))

    @property
    def needs_data(self) -> bool:
        """Whether its images have to be downloaded."""
        return self.source is not None

    def images(self, **options: Any) -> Any:
        """Opens the annotated images, with overridden options.

        Raises:
            ValueError: an option is unknown.
            LayoutError: files are missing.
            ImportError: a required package is not installed.
        """
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise ValueError(
                f"benchmark {self.name!r} has no option {unknown[0]!r}; {suggest(unknown[0], self.options)}"
            )
        return self.open(**{**self.options, **options})
