"""What a benchmark declares: where its images come from, what opens them, and the task it measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ovperc.core.naming import suggest
from ovperc.data.anomaly.layouts import AnomalyLayout
from ovperc.data.layout import Layout

ON_DISK: Mapping[str, Any] = {"root": None, "partial": False}
"""Options of every benchmark that is read from files."""


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
        name: file name.
        url: where its publisher offers it.
        digest: ``"md5:..."`` or ``"sha1:..."`` where a public source states one.
        note: what to know before downloading.
    """

    name: str
    url: str
    digest: str = ""
    note: str = ""


@dataclass(frozen=True)
class Source:
    """The files behind one or several benchmarks.

    Attributes:
        folders: names that the data set's root may have in a folder of data sets, the usual one first.
        citation: paper.
        licence: in words.
        archives: what to download; unpacked as the publishers pack them.
        homepage: of the publisher, where there is no direct download.
        unpack: how the archives are unpacked, where that is not obvious.
        layout: of the evaluated split: images and label maps, or the categories of an anomaly set.
        conversion: name of the conversion that makes its label maps; empty where the download is read as it is.
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
    """One test set with the rules it is scored by.

    Attributes:
        name: on the command line.
        title: one line for lists.
        open: makes the images; takes ``options`` as keywords.
        options: its defaults; ``data.NAME=VALUE`` on the command line replaces them.
        source: its files; None for generated images.
        task: of the methods that it compares.
        evaluation: what is measured (a key of ``ovperc.evaluation.table.EVALUATIONS``), where that is not the task.
    """

    name: str
    title: str
    open: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    source: Source | None = None
    task: str = "segmentation"
    evaluation: str = ""

    @property
    def needs_data(self) -> bool:
        """Whether its images are files that have to be downloaded."""
        return self.source is not None

    def images(self, **options: Any) -> Any:
        """The annotated images, with options replaced.

        Raises:
            ValueError: an option that the benchmark does not have.
            LayoutError: its files are missing.
            ImportError: a package that it needs is not installed; the message says which.
        """
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise ValueError(
                f"benchmark {self.name!r} has no option {unknown[0]!r}; {suggest(unknown[0], self.options)}"
            )
        return self.open(**{**self.options, **options})
