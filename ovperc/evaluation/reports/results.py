"""Results of finished runs, from their JSON summaries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ResultError(ValueError):
    """A file is not the summary of an evaluation."""


@dataclass(frozen=True)
class Result:
    """Result of a method on a benchmark.

    Attributes:
        method, benchmark, weights, arch: what was run.
        metrics: name -> value in percent.
        images: number of evaluated images.
        complete: whether these are all images of the benchmark.
        config: first digits of the SHA-256 of the resolved settings; empty if not in the summary.
        commit: commit of the code.
        device: device of the run.
        versions: package -> version.
        command: command that reproduces the result.
        seconds: wall time.
        path: path of the summary.
        variant: label of the variant, such as ``"4 shots"``.
    """

    method: str
    benchmark: str
    weights: str
    arch: str
    metrics: Mapping[str, float | None]
    images: int
    complete: bool
    config: str
    commit: str
    device: str
    versions: Mapping[str, str]
    command: str
    seconds: float
    path: Path
    variant: str = ""

    @property
    def backbone(self) -> str:
        """Tower and training data as in published tables, such as ``"ViT-B/16 openai"``."""
        return backbone_name(self.arch, self.weights)


def backbone_name(arch: str, weights: str) -> str:
    """``"ViT-B/16 openai"`` from ``"ViT-B-16-quickgelu"`` and a tag, file or hub name with the training data."""
    tower = arch.removesuffix("-quickgelu")
    if tower.startswith("ViT-") and tower.count("-") >= 2:
        head, _, patch = tower.rpartition("-")
        tower = f"{head}/{patch}" if patch.isdigit() else tower
    low = weights.lower()
    data = next((tag for tag in ("openai", "laion2b", "metaclip", "datacomp", "dfn2b") if tag in low), "")
    return f"{tower} {data}".strip()


def read_result(path: Path) -> Result:
    """Reads the result from a summary of ``ovperc test``.

    Raises:
        ResultError: the file is not JSON, or not the summary of an evaluation.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["kind"] != "test":
            raise ResultError(f"{path}: expected the summary of an evaluation, found one of type {content['kind']!r}")
        return _result(content, path)
    except ResultError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultError(f"{path}: not the summary of an evaluation ({type(error).__name__}: {error})") from error


def _result(content: Mapping[str, Any], path: Path) -> Result:
    settings = content["settings"]
    return Result(
        method=settings["method"],
        benchmark=settings["benchmark"],
        weights=str(settings["weights"]),
        arch=str(settings["arch"]),
        metrics=dict(content["metrics"]),
        images=int(settings["images"]),
        complete=bool(settings.get("complete", True)),
        config=str(settings.get("config", "")),
        commit=content.get("commit") or "",
        device=content.get("device", ""),
        versions=content.get("versions", {}),
        command=" ".join(content.get("command", ())),
        seconds=float(content.get("seconds") or 0.0),
        path=path,
        variant=f"{shots} shot{'s' * (shots > 1)}" if (shots := _shots(settings)) else "",
    )


def _shots(settings: Mapping[str, Any]) -> int:
    """Normal images per category of a few-shot anomaly method."""
    protocol = settings.get("protocol")
    return int(protocol.get("shots") or 0) if isinstance(protocol, Mapping) else 0


def read_results(places: Iterable[str | Path]) -> tuple[Result, ...]:
    """Reads all results in files and below folders, skipping other JSON files in folders.

    Of several runs with the same method, weights, benchmark and shots, the newest is kept, preferring complete runs.

    Raises:
        ResultError: a path does not exist, or a file is not a summary.
    """
    best: dict[tuple[str, ...], Result] = {}
    for result in _each(places):
        key = (result.method, result.arch, result.weights, result.benchmark, result.variant)
        if key not in best or _rank(result) >= _rank(best[key]):
            best[key] = result
    return tuple(best[key] for key in sorted(best))


def _each(places: Iterable[str | Path]) -> Iterator[Result]:
    for place in map(Path, places):
        if place.is_file():
            yield read_result(place)
        elif place.is_dir():
            for path in sorted(place.rglob("*.json")):
                try:
                    yield read_result(path)
                except ResultError:
                    continue
        else:
            raise ResultError(f"{place}: no such file or folder; pass summaries of ovperc test, or folders of them")


def _rank(result: Result) -> tuple[bool, float]:
    return result.complete, result.path.stat().st_mtime
