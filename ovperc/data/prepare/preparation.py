"""Preparation of downloaded benchmarks: check, convert, verify."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ovperc.data.annotations import AnnotationError, read_annotation
from ovperc.data.benchmark import Archive, Source
from ovperc.data.label_map import LabelRangeError, load_label_map
from ovperc.data.layout import LayoutError, check_layout
from ovperc.data.prepare import CONVERSIONS
from ovperc.data.prepare.conversion import conversion_state, read_manifest, run_conversion
from ovperc.data.segmentation.benchmark import SegmentationBenchmark


@dataclass(frozen=True)
class Preparation:
    """Result of preparing a benchmark's files.

    Attributes:
        root: folder of the files.
        notes: what was found and done, one sentence each.
        problems: what is missing or wrong, one sentence each; empty if ready.
    """

    root: Path
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether the benchmark can be run."""
        return not self.problems


def prepare(
    row: SegmentationBenchmark,
    root: Path,
    *,
    check_only: bool = False,
    read_all: bool = False,
    workers: int = 0,
    progress: bool = True,
) -> Preparation:
    """Checks a benchmark's files, converts them if needed, and verifies counts and hashes.

    Args:
        row: the benchmark.
        root: root folder of the data set.
        check_only: check without writing.
        read_all: also read every annotation and verify converted files against the manifest's hashes.
        workers: number of conversion threads.
        progress: show a progress bar.

    Raises:
        LayoutError: the data set was not found.
        ConversionError: the conversion stopped; finished files are kept.
    """
    source = row.source
    notes, problems = [], []
    if source.conversion:
        converting = _convert if not check_only else _look
        note, problem = converting(source, root, workers, progress)
        notes += note
        problems += problem
    if problems:
        return Preparation(root, tuple(notes), tuple(problems))
    try:
        report = check_layout(source.layout.of_split(), root)
    except LayoutError as error:
        return Preparation(root, tuple(notes), (str(error),))
    problems += report.problems()
    notes.append(f"{report.found} of {report.expected} samples have an image and an annotation")
    if report.names_match:
        notes.append("the file names match the official split (SHA-256)")
    if read_all:
        problems += _read_all(row, root, progress)
        problems += _changed(source, root)
        notes.append(f"read {report.named} annotations")
    return Preparation(root, tuple(notes), tuple(problems))


def _convert(source: Source, root: Path, workers: int, progress: bool) -> tuple[list[str], list[str]]:
    if _made_elsewhere(source, root):
        return ["annotations are present, created by another tool"], []
    conversion = CONVERSIONS[source.conversion](root)
    manifest = read_manifest(root, source.conversion)
    if manifest is not None and manifest.version == conversion.version and not manifest.changed(root):
        return [f"already converted: {len(manifest.records)} files, digest {manifest.digest}"], []
    manifest = run_conversion(conversion, workers, progress)
    return [f"converted {len(manifest.records)} files, digest {manifest.digest}"], []


def _look(source: Source, root: Path, *_: object) -> tuple[list[str], list[str]]:
    state = conversion_state(root, source.conversion)
    if state == "unfinished":
        return [], ["the conversion is unfinished; run again without --check"]
    if state == "done":
        manifest = read_manifest(root, source.conversion)
        assert manifest is not None
        gone = [record.path for record in manifest.records if not (root / record.path).is_file()]
        if gone:
            return [], [
                f"{len(gone)} of {len(manifest.records)} converted files are missing, such as {gone[0]}; "
                "run it again without --check"
            ]
        return [f"converted: {len(manifest.records)} files, digest {manifest.digest}"], []
    if _made_elsewhere(source, root):
        return ["annotations are present, created by another tool"], []
    CONVERSIONS[source.conversion](root).jobs()
    return [], ["the download is present but not converted; run again without --check"]


def _made_elsewhere(source: Source, root: Path) -> bool:
    """Whether all annotations are present but were not created by our conversion."""
    if conversion_state(root, source.conversion) != "absent":
        return False
    try:
        return check_layout(source.layout.of_split(), root).complete
    except LayoutError:
        return False


def _read_all(row: SegmentationBenchmark, root: Path, progress: bool) -> Iterator[str]:
    """Descriptions of all unusable annotations."""
    table = load_label_map(row.label_map)
    for sample in _track(row.source.layout.of_split().samples(root), progress):
        if not sample.annotation.is_file():
            continue
        try:
            table.apply(read_annotation(sample.annotation), sample.annotation)
        except (AnnotationError, LabelRangeError) as error:
            yield str(error)


def _track(samples: tuple, progress: bool) -> Iterator:
    if not progress:
        yield from samples
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(samples, "reading", console=Console(stderr=True))


def _changed(source: Source, root: Path) -> Iterator[str]:
    manifest = read_manifest(root, source.conversion) if source.conversion else None
    changed = manifest.changed(root) if manifest else ()
    if changed:
        yield f"{len(changed)} converted files have changed, such as {changed[0]}; convert again"


def check_archives(source: Source, folder: Path) -> Iterator[str]:
    """Status of each archive: whether it is present and matches the published digest."""
    for archive in source.archives:
        path = folder / archive.name
        if not path.is_file():
            yield f"{archive.name}: not in {folder}; {archive.url}{f' ({archive.note})' if archive.note else ''}"
        elif not archive.digest:
            yield f"{archive.name}: present, {path.stat().st_size} bytes; no digest is published"
        else:
            yield _compare(archive, path)


def _compare(archive: Archive, path: Path) -> str:
    kind, expected = archive.digest.split(":")
    digest = hashlib.new(kind)
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    found = digest.hexdigest()
    if found == expected:
        return f"{archive.name}: {kind} matches"
    return f"{archive.name}: wrong {kind}, expected {expected}, found {found}; download it again"
