"""Checking and converting tiny data sets in the benchmarks' true layouts."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.benchmark_fixtures import VOID, make_coco_instances, make_fixture
from ovperc.cli.main import main
from ovperc.data.annotations import read_annotation
from ovperc.data.benchmark import Archive, Source
from ovperc.data.benchmarks import get_benchmark
from ovperc.data.label_map import load_label_map
from ovperc.data.layout import LayoutError, check_layout, names_digest, resolve_root
from ovperc.data.prepare import CONVERSIONS, ConversionError, conversion, conversion_state, run_conversion
from ovperc.data.prepare.preparation import check_archives, prepare
from ovperc.data.segmentation.sets import SEGMENTATION_SETS

BENCHMARKS = sorted(row.name for row in SEGMENTATION_SETS)
CONVERTED = sorted({row.source.conversion: row.name for row in SEGMENTATION_SETS if row.source.conversion}.values())


def read_labels(row, root, name):
    table = load_label_map(row.label_map)
    annotation = row.source.layout.of_split().sample(root, name).annotation
    labels = table.apply(read_annotation(annotation)).astype(np.int64)
    return np.where(labels == table.ignore_index, VOID, labels)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_prepare_gives_the_labels_that_were_drawn(name, tmp_path):
    fixture = make_fixture(name, tmp_path)
    outcome = prepare(fixture.row, fixture.root, read_all=True, progress=False)
    assert outcome.ready, outcome.problems
    assert fixture.layout.names(fixture.root) == tuple(sorted(fixture.labels))
    for sample, labels in fixture.labels.items():
        assert np.array_equal(read_labels(fixture.row, fixture.root, sample), labels)
    assert prepare(fixture.row, fixture.root, check_only=True, read_all=True, progress=False).ready


def test_coco_object_from_instances_paints_crowds_as_void_and_small_over_large(tmp_path):
    expected = make_coco_instances(tmp_path)
    run_conversion(CONVERSIONS["coco_object"](tmp_path), progress=False)
    for name, labels in expected.items():
        assert np.array_equal(read_labels(get_benchmark("coco_object"), tmp_path, name), labels)


def test_ade_images_shrink_with_their_labels(tmp_path):
    fixture = make_fixture("ade847", tmp_path)
    prepare(fixture.row, tmp_path, progress=False)
    sample = fixture.layout.sample(tmp_path, "ADE_val_00000001")
    assert read_annotation(sample.image).shape == (512, 576, 3)


@pytest.mark.parametrize("name", CONVERTED)
def test_a_killed_conversion_goes_on_and_is_not_taken_for_done(name, tmp_path, monkeypatch):
    fixture = make_fixture(name, tmp_path)
    kind = CONVERSIONS[fixture.row.source.conversion]
    calls = []

    def convert(self, job, convert=kind.convert):
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(job.key)
        return convert(self, job)

    monkeypatch.setattr(kind, "convert", convert)
    with pytest.raises(KeyboardInterrupt):
        prepare(fixture.row, tmp_path, progress=False)
    monkeypatch.undo()
    assert conversion_state(tmp_path, fixture.row.source.conversion) == "unfinished"
    assert "unfinished" in prepare(fixture.row, tmp_path, check_only=True).problems[0]

    again = []
    monkeypatch.setattr(kind, "convert", lambda self, job, do=kind.convert: again.append(job.key) or do(self, job))
    assert prepare(fixture.row, tmp_path, progress=False).ready
    assert calls[0] not in again
    assert conversion_state(tmp_path, fixture.row.source.conversion) == "done"


def test_threads_and_a_second_run_give_the_same_digest_and_no_new_files(tmp_path):
    fixture = make_fixture("coco_object", tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    one = run_conversion(CONVERSIONS["coco_object"](tmp_path / "a"), progress=False)
    two = run_conversion(CONVERSIONS["coco_object"](tmp_path / "b"), workers=3, progress=False)
    assert one == two
    times = {path: path.stat().st_mtime_ns for path in fixture.root.rglob("*_instanceTrainIds.png")}
    assert "already converted" in prepare(fixture.row, fixture.root, progress=False).notes[0]
    assert times == {path: path.stat().st_mtime_ns for path in fixture.root.rglob("*_instanceTrainIds.png")}


def test_a_changed_file_is_found_and_made_again(tmp_path):
    fixture = make_fixture("pc459", tmp_path)
    prepare(fixture.row, tmp_path, progress=False)
    sample = fixture.layout.sample(tmp_path, "2008_000003")
    good = sample.annotation.read_bytes()
    sample.annotation.write_bytes(good[:-20])
    report = prepare(fixture.row, tmp_path, check_only=True, read_all=True, progress=False)
    assert any("converted files have changed" in problem for problem in report.problems)
    assert prepare(fixture.row, tmp_path, progress=False).ready
    assert sample.annotation.read_bytes() == good


def test_files_made_by_other_tools_are_kept(tmp_path):
    fixture = make_fixture("coco_object", tmp_path)
    run_conversion(CONVERSIONS["coco_object"](tmp_path), progress=False)
    conversion.manifest_path(tmp_path, "coco_object").unlink()
    outcome = prepare(fixture.row, tmp_path, progress=False)
    assert outcome.ready and "another tool" in outcome.notes[0]


def test_a_full_disk_says_so_and_leaves_no_torn_file(tmp_path, monkeypatch):
    fixture = make_fixture("pc459", tmp_path)
    written = []

    def write_bytes(self, data, write=Path.write_bytes):
        written.append(self)
        if len(written) == 2:
            write(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(ConversionError, match=r"disk is full \(\d+ MiB free\).*again to continue"):
        run_conversion(CONVERSIONS["pc459"](tmp_path), progress=False)
    monkeypatch.undo()
    assert len(list((tmp_path / "annotations_detectron2/pc459_val").iterdir())) == 1
    assert conversion_state(tmp_path, "pc459") == "unfinished"
    assert prepare(fixture.row, tmp_path, progress=False).ready


def test_a_torn_journal_line_costs_only_its_file(tmp_path):
    make_fixture("pc459", tmp_path)
    run_conversion(CONVERSIONS["pc459"](tmp_path), progress=False)
    manifest = json.loads(conversion.manifest_path(tmp_path, "pc459").read_text())
    journal = conversion.journal_path(tmp_path, "pc459")
    with conversion._Journal(CONVERSIONS["pc459"](tmp_path), CONVERSIONS["pc459"](tmp_path).jobs()).open():
        pass
    rows = [{"key": Path(row[0]).stem, "files": [row]} for row in manifest["files"][:2]]
    lines = [json.dumps(row) for row in rows]
    journal.write_text(journal.read_text() + lines[0] + "\n" + lines[1][:30])
    made = run_conversion(CONVERSIONS["pc459"](tmp_path), progress=False)
    assert made.digest == manifest["digest"] and not journal.exists()


def test_one_damaged_source_is_named_and_the_rest_are_converted(tmp_path):
    fixture = make_fixture("pc459", tmp_path)
    bad = tmp_path / "trainval/2008_000003.mat"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(ConversionError, match=r"1 of 3 files could not be converted.*2008_000003\.mat"):
        prepare(fixture.row, tmp_path, progress=False)
    assert len(list((tmp_path / "annotations_detectron2/pc459_val").iterdir())) == 2
    assert conversion_state(tmp_path, "pc459") == "unfinished"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_half_copied_data_set_is_named_file_by_file(name, tmp_path):
    fixture = make_fixture(name, tmp_path)
    assert prepare(fixture.row, tmp_path, progress=False).ready
    sample = fixture.layout.samples(tmp_path)[0]
    sample.annotation.unlink()
    report = check_layout(fixture.layout, tmp_path)
    told = "found 2" if fixture.layout.annotated_only else sample.annotation.name
    assert not report.complete and told in report.problems()[0]
    sample.image.unlink()
    assert not check_layout(fixture.layout, tmp_path).complete


def test_a_split_of_the_right_size_with_other_names_is_found(tmp_path):
    fixture = make_fixture("ade150", tmp_path)
    names = fixture.layout.names(tmp_path)
    right = replace(fixture.layout, names_sha256=names_digest(names))
    assert check_layout(right, tmp_path).names_match
    wrong = replace(fixture.layout, names_sha256=names_digest(["a", "b", "c"]))
    assert "do not match the official split" in check_layout(wrong, tmp_path).problems()[0]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_wrong_root_says_what_was_expected_and_found(name, tmp_path):
    (tmp_path / "holiday_photos").mkdir()
    row = get_benchmark(name)
    try:
        problems = prepare(row, tmp_path, progress=False).problems
    except LayoutError as error:
        problems = (str(error),)
    assert "expected" in problems[0] and str(tmp_path) in problems[0]
    with pytest.raises(LayoutError, match="no such folder"):
        check_layout(row.source.layout.of_split(), tmp_path / "nowhere")


def test_damaged_json_and_missing_keys(tmp_path):
    make_coco_instances(tmp_path)
    path = tmp_path / "annotations/instances_val2017.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"instances_val2017\.json: expected JSON, found \d+ bytes"):
        CONVERSIONS["coco_object"](tmp_path).jobs()
    path.write_text('{"images": []}')
    with pytest.raises(ValueError, match="expected the keys images, annotations; found"):
        CONVERSIONS["coco_object"](tmp_path).jobs()


def test_root_may_be_the_data_set_or_the_folder_of_all(tmp_path, monkeypatch):
    root = tmp_path / "VOCdevkit/VOC2012"
    root.mkdir(parents=True)
    for given in (tmp_path, tmp_path / "VOCdevkit", root):
        assert resolve_root(given, "VOCdevkit/VOC2012") == root
    monkeypatch.setenv("OVPERC_DATA", str(tmp_path))
    assert resolve_root(None, "VOCdevkit/VOC2012") == root
    monkeypatch.delenv("OVPERC_DATA")
    with pytest.raises(LayoutError, match="OVPERC_DATA"):
        resolve_root(None, "cityscapes")


def test_archives_are_compared_with_the_published_digest(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"abc")
    archives = (
        Archive("a.zip", "http://x/a.zip", "md5:900150983cd24fb0d6963f7d28e17f72"),
        Archive("a.zip", "http://x/a.zip", "sha1:00"),
        Archive("b.zip", "http://x/b.zip", note="needs an account"),
    )
    right, wrong, missing = check_archives(Source(archives=archives), tmp_path)
    assert right == "a.zip: md5 matches"
    assert "wrong sha1, expected 00, found a9993e36" in wrong
    assert "http://x/b.zip (needs an account)" in missing


def test_command_line(tmp_path, capsys):
    make_fixture("voc21", tmp_path / "VOCdevkit/VOC2012")
    assert main(["prepare", "voc21", "--root", str(tmp_path), "--check", "--quiet"]) == 1
    shown = capsys.readouterr()
    assert "expected 1449 samples, found 3" in shown.err and "VOCtrainval_11-May-2012.tar" in shown.err
    assert "NOT ready" in shown.out
    assert main(["prepare", "ade_150", "--root", str(tmp_path)]) == 1
    assert "'ade150'" in capsys.readouterr().err
    assert main(["prepare", "--list"]) == 0
    assert "needs an account" in capsys.readouterr().out
    assert main(["prepare"]) == 2


def test_every_benchmark_has_a_source_with_a_how_to():
    for name in BENCHMARKS:
        source = get_benchmark(name.replace("_", "-")).source
        assert source.licence and source.citation and (source.archives or source.homepage)
