"""The weights catalogue: looked up by name, found on this machine first, downloaded only when they are nowhere."""

from __future__ import annotations

from pathlib import Path

from ovperc.weights.caches import find_file, offline, weights_folder
from ovperc.weights.entry import WeightsEntry
from ovperc.weights.errors import MissingWeightsError
from ovperc.weights.hub import fetch_repository, find_repository
from ovperc.weights.published import CATALOGUE

_ASSETS = Path(__file__).parents[1] / "assets" / "weights"


def list_weights() -> tuple[str, ...]:
    """Names of the catalogue."""
    return tuple(entry.name for entry in CATALOGUE)


def get_entry(name: str) -> WeightsEntry:
    """The catalogue row of a name.

    Raises:
        ValueError: no such name; offers near matches.
    """
    rows = {entry.name: entry for entry in CATALOGUE}
    if name not in rows:
        from ovperc.core.naming import suggest

        raise ValueError(f"unknown weights {name!r}; {suggest(name, rows)}")
    return rows[name]


def find_entry(arch: str, tag: str) -> WeightsEntry | None:
    """The row of an open_clip architecture and tag, if the catalogue has one; QuickGELU names are the same row."""
    plain = arch.removesuffix("-quickgelu")
    return next((row for row in CATALOGUE if row.name == f"{plain}/{tag}" and row.tag), None)


def local_file(entry: WeightsEntry) -> Path | None:
    """The file if it is on this machine: shipped, in ovperc's folder, or in the caches that other libraries fill."""
    if entry.shipped:
        candidates = [_ASSETS / entry.file, weights_folder() / entry.file]
        return next((path for path in candidates if path.is_file()), None)
    found = (find_repository(repo) for repo in entry.hubs)
    return find_file(entry.file_names) or next((path for path in found if path is not None), None)


def resolve_weights(name: str, *, download: bool = True) -> Path:
    """Path of catalogued weights, offline first.

    Args:
        name: a catalogue name, such as ``"ViT-B-16/openai"``.
        download: fetch a file that is not here, unless ``OVPERC_OFFLINE`` is set.

    Raises:
        ValueError: no such name.
        MissingWeightsError: the file is not here and could not be fetched.
    """
    return resolve_entry(get_entry(name), download=download)


def resolve_entry(entry: WeightsEntry, *, download: bool = True) -> Path:
    """Path of the weights of a row; see :func:`resolve_weights`."""
    found = local_file(entry)
    if found is not None:
        return found
    if entry.shipped:
        raise MissingWeightsError(
            f"the weights {entry.name} ship with ovperc as {_ASSETS / entry.file}, but the file is not there; "
            "install ovperc again, or train them with 'ovperc train': configs/train/ holds the recipe of each"
        )
    if not download or offline():
        raise MissingWeightsError(how_to_get(entry, "downloads are switched off"))
    return fetch_entry(entry, None)


def fetch_entry(entry: WeightsEntry, folder: Path | None) -> Path:
    """Downloads the weights of a row: a single file where it has an address, the repository otherwise.

    Args:
        entry: a row that does not ship with ovperc.
        folder: where to; left out, the weights folder, or the hub's cache for repositories.

    Raises:
        MissingWeightsError: it could not be fetched.
    """
    from ovperc.weights.download import DownloadError, download_file

    try:
        if entry.url is not None:
            return download_file(entry.url, (folder or weights_folder()) / entry.file, sha256=entry.sha256)
        repo = entry.hubs[0]
        return fetch_repository(repo, folder=None if folder is None else folder / repo)
    except (DownloadError, MissingWeightsError) as error:
        raise MissingWeightsError(how_to_get(entry, str(error))) from error


def how_to_get(entry: WeightsEntry, reason: str) -> str:
    """What, where from and where to put it, in three lines."""
    place = weights_folder() / (entry.file if entry.url else entry.hubs[0])
    return (
        f"the weights {entry.name} are not on this machine ({reason}).\n"
        f"  get  {entry.address} (about {entry.size_mb} MB, {entry.licence})\n"
        f"  as   {place}\n"
        "  or pass the path of a file that you have; on a machine with a network: ovperc download "
        f"{entry.name} --to DIR"
    )
