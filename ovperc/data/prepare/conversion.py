"""Resumable conversion of data sets, with atomic files and a manifest.

While a conversion runs, ``ROOT/.ovperc/NAME.journal`` has one line per finished file with its size and SHA-256. When
all files are finished, ``ROOT/.ovperc/NAME.json`` (the manifest) replaces it. A journal therefore marks an unfinished
conversion, and benchmarks reject such a root.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from ovperc.core.atomic import atomic_write, remove_leftovers
from ovperc.core.checksum import lines_sha256

_FOLDER = ".ovperc"


class ConversionError(ValueError):
    """A data set could not be converted, or converted files do not match the manifest."""


@dataclass(frozen=True)
class Job:
    """A unit of work.

    Attributes:
        key: name of the job in messages and the journal.
        targets: files it creates, relative to the root, with forward slashes.
    """

    key: str
    targets: tuple[str, ...]


class Conversion(ABC):
    """Converts a download to the files read by a benchmark.

    Attributes:
        name: name of the conversion.
        version: incremented when the output changes, so that older output is replaced.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @abstractmethod
    def jobs(self) -> tuple[Job, ...]:
        """All jobs in a fixed order.

        Raises:
            LayoutError: the download is missing or incomplete.
        """

    @abstractmethod
    def convert(self, job: Job) -> Mapping[str, bytes]:
        """Returns the bytes of each target of a job, without writing files."""


@dataclass(frozen=True)
class Record:
    """A finished file: path relative to the root, size in bytes, SHA-256."""

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: str, content: bytes) -> Record:
        """Record of a file's content."""
        return cls(path, len(content), hashlib.sha256(content).hexdigest())

    def holds(self, root: Path) -> bool:
        """Whether the file on disk matches the record."""
        path = root / self.path
        return path.is_file() and path.stat().st_size == self.size and Record.of(self.path, path.read_bytes()) == self


@dataclass(frozen=True)
class Manifest:
    """Manifest of a finished conversion.

    Attributes:
        conversion, version: conversion that created the files.
        records: records of all files.
    """

    conversion: str
    version: int
    records: tuple[Record, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the paths and hashes of all files."""
        return lines_sha256(sorted(f"{record.sha256}  {record.path}" for record in self.records))

    def changed(self, root: Path) -> tuple[str, ...]:
        """Files that are missing or changed; reads all of them."""
        return tuple(record.path for record in self.records if not record.holds(root))


def manifest_path(root: Path, name: str) -> Path:
    """Path of the manifest of a finished conversion."""
    return root / _FOLDER / f"{name}.json"


def journal_path(root: Path, name: str) -> Path:
    """Path of the journal of an unfinished conversion."""
    return root / _FOLDER / f"{name}.journal"


def read_manifest(root: Path, name: str) -> Manifest | None:
    """The manifest of a finished conversion, or ``None``."""
    path = manifest_path(root, name)
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(content["conversion"], content["version"], tuple(Record(*row) for row in content["files"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ConversionError(
            f"{path}: expected a manifest, found corrupt JSON ({error}); delete it and convert again"
        ) from error


def conversion_state(root: Path, name: str) -> str:
    """``"done"``, ``"unfinished"`` or ``"absent"`` (also if the files were created by other tools)."""
    if journal_path(root, name).exists():
        return "unfinished"
    return "done" if manifest_path(root, name).exists() else "absent"


def run_conversion(conversion: Conversion, workers: int = 0, progress: bool = True) -> Manifest:
    """Converts all files not converted yet.

    Args:
        conversion: conversion of a root.
        workers: number of threads (decoding and compression release the GIL); 0 for the calling thread.
        progress: show a progress bar.

    Raises:
        ConversionError: a file could not be read or written; finished files are kept.
    """
    remove_leftovers(conversion.root, recursive=True)
    jobs = conversion.jobs()
    journal = _Journal(conversion, jobs)
    todo = [job for job in jobs if not journal.holds(job)]
    failures: list[str] = []
    try:
        with journal.open():
            for job, outcome in _progress(_outcomes(conversion, todo, workers), len(jobs), len(todo), progress):
                if isinstance(outcome, str):
                    failures.append(outcome)
                else:
                    journal.add(job, _write(conversion.root, outcome))
    except OSError as error:
        raise ConversionError(_explain(error, conversion.root)) from error
    if failures:
        raise ConversionError(
            f"{len(failures)} of {len(jobs)} files could not be converted; the others are kept. "
            + "; ".join(failures[:3])
            + ("; ..." if len(failures) > 3 else "")
        )
    manifest = Manifest(conversion.name, conversion.version, journal.records(jobs))
    _write_manifest(conversion.root, manifest)
    journal.path.unlink(missing_ok=True)
    return manifest


class _Journal:
    """Finished jobs of an unfinished conversion, one JSON line each, appended as they finish."""

    def __init__(self, conversion: Conversion, jobs: tuple[Job, ...]) -> None:
        self.root = conversion.root
        self.path = journal_path(conversion.root, conversion.name)
        plan = lines_sha256(target for job in jobs for target in job.targets)
        self._header = {"conversion": conversion.name, "version": conversion.version, "plan": plan}
        self._done: dict[str, tuple[Record, ...]] = dict(self._read())

    def _read(self) -> Iterator[tuple[str, tuple[Record, ...]]]:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        entries = list(_whole_lines(lines))
        if not entries or entries[0] != self._header:
            return
        for entry in entries[1:]:
            yield entry["key"], tuple(Record(*row) for row in entry["files"])

    def holds(self, job: Job) -> bool:
        """Whether the job is finished and its files are unchanged."""
        records = self._done.get(job.key, ())
        return bool(records) and all(record.holds(self.root) for record in records)

    def open(self) -> _Journal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [self._header, *({"key": key, "files": _rows(records)} for key, records in self._done.items())]
        with atomic_write(self.path) as (temporary,):
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        self._stream = self.path.open("a", encoding="utf-8")
        return self

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def add(self, job: Job, records: tuple[Record, ...]) -> None:
        self._done[job.key] = records
        self._stream.write(json.dumps({"key": job.key, "files": _rows(records)}) + "\n")
        self._stream.flush()

    def records(self, jobs: Iterable[Job]) -> tuple[Record, ...]:
        return tuple(record for job in jobs for record in self._done[job.key])


def _whole_lines(lines: Iterable[str]) -> Iterator[dict]:
    """Entries up to the first truncated line, which a killed process may leave."""
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            return


def _rows(records: Iterable[Record]) -> list[list[object]]:
    return [[record.path, record.size, record.sha256] for record in records]


def _convert_one(conversion: Conversion, job: Job) -> Mapping[str, bytes] | str:
    """The output of a job or its error, so that a bad file does not stop the others."""
    try:
        return conversion.convert(job)
    except ValueError as error:
        return str(error)


def _outcomes(conversion: Conversion, jobs: list[Job], workers: int) -> Iterator[tuple[Job, Mapping[str, bytes] | str]]:
    work = partial(_convert_one, conversion)
    if workers <= 0:
        yield from zip(jobs, map(work, jobs), strict=True)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from zip(jobs, pool.map(work, jobs), strict=True)


def _progress(image_results: Iterator, total: int, left: int, shown: bool) -> Iterator:
    if not shown:
        yield from image_results
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("converting", total=total, completed=total - left)
        for outcome in image_results:
            yield outcome
            bar.advance(task)


def _write(root: Path, outputs: Mapping[str, bytes]) -> tuple[Record, ...]:
    targets = [root / path for path in outputs]
    with atomic_write(*targets) as temporary:
        for path, content in zip(temporary, outputs.values(), strict=True):
            path.write_bytes(content)
    return tuple(Record.of(path, content) for path, content in outputs.items())


def _write_manifest(root: Path, manifest: Manifest) -> None:
    content = {
        "conversion": manifest.conversion,
        "version": manifest.version,
        "digest": manifest.digest,
        "files": _rows(manifest.records),
    }
    with atomic_write(manifest_path(root, manifest.conversion)) as (temporary,):
        temporary.write_text(json.dumps(content), encoding="utf-8")


def _explain(error: OSError, root: Path) -> str:
    again = "run the same command again to continue"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        stat = os.statvfs(root)
        free = stat.f_bavail * stat.f_frsize / 2**20
        return f"{root}: the disk is full ({free:.0f} MiB free); make room, then {again}"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{error.filename or root}: cannot be written ({error.strerror}); make the root writable, then {again}"
    return f"{error.filename or root}: {error.strerror or error}; then {again}"
