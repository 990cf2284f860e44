"""Files appear whole or not at all."""

import pytest

from ovperc.core.atomic import atomic_write


def test_files_appear_together_and_folders_are_made(tmp_path):
    one, two = tmp_path / "deep" / "a.txt", tmp_path / "b.json"
    with atomic_write(one, str(two)) as (first, second):
        first.write_text("1")
        second.write_text("2")
        assert first.suffix == ".txt" and second.suffix == ".json"
        assert not one.exists() and not two.exists()
    assert (one.read_text(), two.read_text()) == ("1", "2")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "b.json", "deep"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as (temporary,):
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_was_not_written_leaves_the_others_alone(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a") as _:
        pass
    assert list(tmp_path.iterdir()) == []
