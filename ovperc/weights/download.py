"""Fetching one file: resumable, verified, never half there under its final name."""

from __future__ import annotations

import errno
import os
import shutil
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from ovperc.core.checksum import file_sha256

_CHUNK = 1 << 20
_TIMEOUT_S = 30


class DownloadError(RuntimeError):
    """A file could not be fetched; the message says why."""


def download_file(url: str, target: Path, *, sha256: str | None = None, progress: bool = True) -> Path:
    """Downloads to ``target`` through ``target.part``, which a later call takes up again.

    Args:
        url: http(s) address.
        target: final path; its folder is made.
        sha256: checksum that the whole file must have; None where none is published.
        progress: shows a bar on a terminal.

    Returns:
        ``target``.

    Raises:
        DownloadError: no connection, no space, a short or a wrong file. Nothing stands at ``target`` then.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, part, progress)
        if sha256 is not None and (found := file_sha256(part)) != sha256:
            part.unlink()
            raise DownloadError(f"{url} gave a file with sha256 {found}, expected {sha256}; it was deleted")
        os.replace(part, target)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise DownloadError(f"{url} could not be fetched: {getattr(error, 'reason', None) or error}") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            part.unlink(missing_ok=True)
            raise DownloadError(f"there is no space left for {target}; free some, or choose another folder") from error
        raise DownloadError(f"{target} could not be written: {error}") from error
    return target


def _fetch(url: str, part: Path, progress: bool) -> None:
    """Fills ``part``, from where it ends if the server allows."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "ovperc"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        part.unlink()  # longer than the file on the server: begin again
        return _fetch(url, part, progress)
    with response:
        resumed = response.status == 206
        total = _total_bytes(response, have if resumed else 0)
        _check_space(part, total, have if resumed else 0)
        with part.open("ab" if resumed else "wb") as file:
            _copy(response, file, part.name.removesuffix(".part"), have if resumed else 0, total, progress)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and part.stat().st_size != total:
        raise DownloadError(f"{url} broke off after {part.stat().st_size} of {total} bytes; run again to go on")
    return None


def _total_bytes(response: HTTPResponse, have: int) -> int | None:
    length = response.headers.get("Content-Length")
    return None if length is None else have + int(length)


def _check_space(part: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise OSError(errno.ENOSPC, f"{total - have} bytes are needed, {free} are free")


def _copy(response: HTTPResponse, file, name: str, have: int, total: int | None, progress: bool) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not progress or not console.is_terminal) as bar:
        task = bar.add_task(name, total=total, completed=have)
        while piece := response.read(_CHUNK):
            file.write(piece)
            bar.advance(task, len(piece))
