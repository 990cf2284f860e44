"""Bringing weights to a folder that a machine without a network can use: by any name that loading accepts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovperc.core.checksum import file_sha256
from ovperc.weights import hub
from ovperc.weights.catalogue import CATALOGUE, fetch_entry, local_file
from ovperc.weights.entry import WeightsEntry
from ovperc.weights.errors import MissingWeightsError


@dataclass(frozen=True)
class FetchedWeights:
    """What a fetch left on disk.

    Attributes:
        name: as given.
        path: the weights file.
        note: how it was checked, or why nothing had to be fetched.
    """

    name: str
    path: Path
    note: str


def find_fetchable(name: str) -> WeightsEntry:
    """The row of a name: of the catalogue, of open_clip (``ARCH/TAG``), of timm (``ARCH.TAG``), or a hub repository.

    Raises:
        ValueError: no such name; offers near matches.
    """
    entry = next((row for row in CATALOGUE if row.name == name), None)
    if entry is not None:
        return entry
    from ovperc.weights.locate import find_published

    return find_published(name)


def fetch_weights(entry: WeightsEntry, folder: Path) -> FetchedWeights:
    """Brings the files of a row into a folder; an interrupted download is taken up where it ended.

    Single files get a ``.sha256`` next to them where the publisher gives no checksum, so that a later call can tell
    whether the file is still the one that was fetched. Repositories come with their configs and their tokenizer.

    Args:
        entry: see :func:`find_fetchable`.
        folder: becomes, or is copied to, ``OVPERC_HOME/weights`` on the other machine.

    Raises:
        MissingWeightsError: it could not be fetched; says what to get and from where.
    """
    if entry.shipped:
        path = local_file(entry)
        if path is None:
            raise MissingWeightsError(f"{entry.name} ships with ovperc, but is missing here: install ovperc again")
        return FetchedWeights(entry.name, path, "ships with ovperc")
    if entry.url is None:
        path = fetch_entry(entry, folder)
        _fetch_tokenizer(entry, path, folder)
        return FetchedWeights(entry.name, path, f"from {entry.address}")
    target = folder / entry.file
    if target.is_file():
        expected = entry.sha256 or _recorded(target)
        if expected is None or file_sha256(target) == expected:
            return FetchedWeights(entry.name, target, "already here")
    path = fetch_entry(entry, folder)
    if entry.sha256:
        return FetchedWeights(entry.name, path, "sha256 verified")
    _sum_file(path).write_text(f"{file_sha256(path)}  {path.name}\n", encoding="utf-8")
    return FetchedWeights(entry.name, path, "the publisher gives no checksum; the file's own was stored next to it")


def _fetch_tokenizer(entry: WeightsEntry, path: Path, folder: Path) -> None:
    """The tokenizer of an open_clip architecture, where it lies in another repository."""
    if entry.family != "clip" or any((path.parent / name).is_file() for name in hub.TOKENIZER_FILES):
        return
    from ovperc.weights.architectures import arch_config

    text = arch_config(entry.arch)["text_cfg"] if entry.arch else {}
    for repo in {text[key] for key in ("hf_tokenizer_name", "hf_model_name") if text.get(key)}:
        hub.fetch_side_files(repo, (*hub.TOKENIZER_FILES, "config.json"), folder=folder / repo)


def _recorded(path: Path) -> str | None:
    """The checksum that an earlier fetch stored."""
    record = _sum_file(path)
    return record.read_text(encoding="utf-8").split()[0] if record.is_file() else None


def _sum_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
