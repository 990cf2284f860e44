"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG)
_TEMPORARY = re.compile(r"\.partial-([0-9a-f]{8})-(\d+)-[0-9a-f]{12}-")


@contextmanager
def atomic_write(*paths: str | Path) -> Iterator[tuple[Path, ...]]:
    """Temporary files beside the wanted ones, moved into place together when the block ends well.

    On any error or interrupt inside the block the temporary files are removed and what was on disk before
    stays. Missing folders are made. The temporary names keep the suffix, for writers that go by it.

    Args:
        paths: wanted files; the last one is put in place last, so let it be the one that names the others.

    Yields:
        One temporary path per wanted file, to be written by the block.

    Raises:
        OSError: a folder cannot be made or written to, or the disk is full; it names a wanted file.
    """
    wanted = [Path(path) for path in paths]
    temporary = tuple(path.with_name(_temporary_name(path.name)) for path in wanted)
    try:
        for path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        for source, path in zip(temporary, wanted, strict=True):
            os.replace(source, path)
    except OSError as error:
        places = {str(source): path for source, path in zip(temporary, wanted, strict=True)}
        unnamed = error.filename is None and error.errno in _DISK_ERRORS
        place = wanted[0] if unnamed else places.get(str(error.filename))
        if place is None:
            raise
        raise OSError(error.errno, error.strerror, str(place)) from error
    finally:
        for path in temporary:
            with suppress(OSError):
                path.unlink(missing_ok=True)


@contextmanager
def staged_directory(target: Path) -> Iterator[Path]:
    """A hidden folder inside ``target`` whose files move into ``target`` when the block ends well.

    On any error or interrupt in the block nothing of it stays behind, so several files that belong
    together appear together.

    Raises:
        OSError: ``target`` cannot be made or written.
    """
    target.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target) as folder:
        yield folder
        moved: list[Path] = []
        try:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                place = target / file.relative_to(folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, place)
                moved.append(place)
        except BaseException:
            for file in moved:
                file.unlink(missing_ok=True)
            raise


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A hidden folder in ``parent``, on the same disk as what it is for; removed with all it holds."""
    folder = parent / _temporary_name("")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: Path, recursive: bool = False) -> None:
    """Removes temporary files and folders of this machine's processes that were killed while they wrote.

    What cannot be listed or removed stays, without an error.

    Args:
        folder: where to look; it need not exist.
        recursive: whether subfolders are searched.
    """
    if os.name == "nt":  # there is no harmless way to tell whether a process lives
        return
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            found = _TEMPORARY.match(name)
            if found and found[1] == _machine() and not _is_alive(int(found[2])):
                path = Path(place, name)
                with suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        folders[:] = [name for name in folders if not _TEMPORARY.match(name)] if recursive else []


def _temporary_name(name: str) -> str:
    path = Path(name)
    return f".partial-{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:12]}-{path.stem[:40]}{path.suffix}"


def _machine() -> str:
    """Of the host that a process number belongs to, as folders may be shared by several."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to another user
        return True
    return True
