"""The model table and the comparison with published figures, from summaries on disk."""

import json
import os

import pytest

from ovperc.cli.reports import model_table_main, reproduce_main
from ovperc.data.benchmarks import BENCHMARKS
from ovperc.evaluation.reports.model_table import model_table
from ovperc.evaluation.reports.published import compare, departures, find_figures, published_figures
from ovperc.evaluation.reports.results import ResultError, backbone_name, read_results


def write_summary(path, method="sclip", benchmark="voc21", miou=59.0, weights="/somewhere/openai/ViT-B-16.pt", **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"method": method, "benchmark": benchmark, "weights": weights, "arch": "ViT-B-16-quickgelu",
                "images": 1449, "config": "0123456789abcdef", **more}  # fmt: skip
    content = {"kind": "test", "metrics": {"mIoU": miou, "aAcc": 80.0, "false_area": None}, "settings": settings,
               "seconds": 3.0, "details": {}, "command": ["tools/test.py", method, "--benchmark", benchmark],
               "versions": {"torch": "2.0"}, "commit": "a" * 40 + "+", "device": "cpu"}  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def test_table_has_scores_commit_config_environment_and_command_but_no_path(tmp_path):
    write_summary(tmp_path / "a/summary.json")
    write_summary(tmp_path / "b/summary.json", method="naclip", miou=64.07)
    write_summary(tmp_path / "c/summary.json", benchmark="ade150", miou=16.0, images=20, complete=False)
    (tmp_path / "other.json").write_text("[1]")
    text = model_table(read_results([tmp_path]))
    assert "| sclip  | ViT-B-16.pt | 59.0" in text and "64.1" in text
    assert text.index("naclip | ViT-B-16.pt | 64.1 | 80.0") < text.index("sclip  | ViT-B-16.pt | 59.0 | 80.0")
    for expected in ("aaaaaaaaa+", "012345678", "torch 2.0", "`tools/test.py sclip --benchmark voc21`", "first 20"):
        assert expected in text
    assert "/somewhere" not in text and "false area" not in text
    overview = text[: text.index("## ")]
    assert "ade150" not in overview


def test_the_newest_complete_run_counts(tmp_path):
    old, new, part = (tmp_path / f"{name}.json" for name in ("old", "new", "part"))
    for age, (path, miou, complete) in enumerate([(part, 3.0, False), (new, 2.0, True), (old, 1.0, True)]):
        write_summary(path, miou=miou, complete=complete)
        os.utime(path, (1e9 - age, 1e9 - age))
    (result,) = read_results([tmp_path])
    assert result.metrics["mIoU"] == 2.0


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(ResultError, match="no such file"):
        read_results([tmp_path / "nothing"])
    (tmp_path / "a.json").write_text('{"kind": "train"}')
    with pytest.raises(ResultError, match="type 'train'"):
        read_results([tmp_path / "a.json"])
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ResultError, match="not the summary"):
        read_results([tmp_path / "a.json"])
    with pytest.raises(ValueError, match="run ovperc test METHOD"):
        model_table([])


@pytest.mark.parametrize(
    ("arch", "weights", "name"),
    [
        ("ViT-B-16-quickgelu", "openai", "ViT-B/16 openai"),
        ("ViT-H-14", "laion2b_s32b_b79k", "ViT-H/14 laion2b"),
        ("RN50-quickgelu", "/x/openai/RN50.pt", "RN50 openai"),
        ("clip-mini", "clip-mini", "clip-mini"),
    ],
)
def test_backbone_names_are_those_of_published_tables(arch, weights, name):
    assert backbone_name(arch, weights) == name


def test_published_figures_are_of_known_benchmarks_and_sources():
    figures = published_figures()
    assert len(figures) > 150
    for figure in figures:
        assert figure.benchmark in BENCHMARKS and 0 < figure.value < 100 and figure.source
    (figure,) = find_figures("naclip_pamr", "voc21")
    assert figure.value == 64.07 and figure.backbone == "ViT-B/16 openai"
    with pytest.raises(ValueError, match="'naclip'"):
        find_figures("naclp", "voc21")
    with pytest.raises(ValueError, match="no published results for 'sclip'"):
        find_figures("sclip", "ade847")


def test_comparison_joins_by_backbone_and_skips_partial_runs(tmp_path):
    write_summary(tmp_path / "a.json", miou=60.0)
    write_summary(tmp_path / "b.json", method="naclip", complete=False)
    results = read_results([tmp_path])
    by_source = {row.figure.note: row for row in compare("sclip", "voc21", results)}
    assert by_source[""].difference == pytest.approx(60 - 59.63)
    assert by_source["re-run"].ours is None and by_source["re-run"].difference is None
    assert all(row.ours is None for row in compare("naclip", "voc21", results))
    assert any("area_thd" in line for line in departures("sclip", "voc21"))
    assert not any("area_thd" in line for line in departures("sclip", "ade150"))


def test_command_lines(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "220")
    write_summary(tmp_path / "a.json", miou=60.0)
    assert reproduce_main(["sclip/voc21", "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "59.63" in shown and "+0.37" in shown and "known departure: area_thd" in shown
    assert reproduce_main(["sclip"]) == 2
    assert model_table_main([str(tmp_path), "--out", str(tmp_path / "table.md")]) == 0
    assert (tmp_path / "table.md").read_text().startswith("# Model table")
    assert model_table_main([str(tmp_path / "none")]) == 2
