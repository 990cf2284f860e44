"""Writers that are killed, run out of disk or are refused: nothing is lost, and messages name the file."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from ovperc.core.atomic import atomic_write, remove_leftovers, staged_directory, temporary_folder
from ovperc.export.folder import replaced_folder
from ovperc.runtime.manifest import MANIFEST_NAME

STUCK = """
    import sys, time
    from pathlib import Path
    from ovperc.core.atomic import atomic_write, staged_directory
    target = Path(sys.argv[1])
    with atomic_write(target / "deep" / "a.txt") as (file,), staged_directory(target) as folder:
        file.write_text("half")
        (folder / "b.txt").write_text("half")
        print("writing", flush=True)
        time.sleep(60)
"""


def names(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def stuck(tmp_path):
    """A process that is half through writing into a folder."""
    (tmp_path / "old.txt").write_text("old")
    program = textwrap.dedent(STUCK)
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        yield process
        process.kill()


def test_leftovers_of_a_killed_process_are_removed(tmp_path, stuck):
    assert len(names(tmp_path)) == 3
    remove_leftovers(tmp_path, recursive=True)
    assert len(names(tmp_path)) == 3, "its process lives"
    stuck.kill()
    stuck.wait()
    remove_leftovers(tmp_path)
    assert [name.startswith("deep/") for name in names(tmp_path)] == [True, False], "not below the folder"
    remove_leftovers(tmp_path, recursive=True)
    assert names(tmp_path) == ["old.txt"]


def test_a_terminated_process_is_swept_as_well(tmp_path, stuck):
    stuck.send_signal(signal.SIGTERM)
    stuck.wait()
    remove_leftovers(tmp_path, recursive=True)
    assert names(tmp_path) == ["old.txt"]


def test_files_of_others_stay(tmp_path):
    for name in (".partial-x", ".partial-00000000-999999999-0123456789ab-a.txt", ".hidden", "a.partial"):
        (tmp_path / name).write_text("mine")
    before = names(tmp_path)
    remove_leftovers(tmp_path, recursive=True)
    remove_leftovers(tmp_path / "none")
    assert names(tmp_path) == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_errors_name_the_file_that_was_wanted(tmp_path, code):
    with pytest.raises(OSError, match=r"a\.txt") as told, atomic_write(tmp_path / "a.txt") as (temporary,):
        raise OSError(code, os.strerror(code))
    assert told.value.errno == code
    with pytest.raises(PermissionError) as told, atomic_write(tmp_path / "a.txt") as (temporary,):
        raise PermissionError(errno.EACCES, "denied", str(temporary))
    assert told.value.filename == str(tmp_path / "a.txt")
    assert names(tmp_path) == []


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"file"), atomic_write(tmp_path / "file" / "a.txt"):
        pass
    with pytest.raises(OSError, match=r"file"), staged_directory(tmp_path / "file"):
        pass


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_modes_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "new" / "a.txt") as (file,):
            file.write_text("1")
        with staged_directory(tmp_path / "out") as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "b.txt").write_text("2")
        with replaced_folder(tmp_path / "export") as folder:
            (folder / "c.txt").write_text("3")
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~mask, path


def test_an_export_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    out = tmp_path / "export"
    out.mkdir()
    (out / MANIFEST_NAME).write_text("old")
    replace = os.replace

    def fail(source, place):
        if os.path.basename(source) == "new":
            raise KeyboardInterrupt
        replace(source, place)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt), replaced_folder(out) as folder:
        (folder / MANIFEST_NAME).write_text("new")
    assert names(tmp_path) == [f"export/{MANIFEST_NAME}"]
    assert (out / MANIFEST_NAME).read_text() == "old"


def test_a_temporary_folder_is_removed_with_what_it_holds(tmp_path):
    with pytest.raises(RuntimeError, match="first"), temporary_folder(tmp_path) as folder:
        (folder / "a").mkdir()
        raise RuntimeError("first")
    assert list(tmp_path.iterdir()) == []
