"""The world as files: what folder readers find is what was drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.anomaly_layouts import write_mvtec
from ovperc.cli.main import main
from ovperc.data.benchmarks import get_benchmark
from ovperc.data.world.anomaly import WorldAnomaly
from ovperc.data.world.anomaly_folder import write_world_anomaly


def test_files_hold_the_drawn_images_and_masks(tmp_path: Path) -> None:
    images = WorldAnomaly(good=1, per_kind=1, normal=2, categories=("wood", "ring"))
    assert write_world_anomaly(tmp_path, images) == 2 * 2 + len(images) + sum(r.anomalous for r in images.records)
    found = get_benchmark("anomaly_folder").images(root=tmp_path)
    assert len(found) == len(images)
    at = {record.name.replace("/test/", "/"): index for index, record in enumerate(found.records)}
    for index, record in enumerate(images.records):
        drawn, stored = images[index], found[at[record.name]]
        np.testing.assert_array_equal(stored.image, drawn.image)
        np.testing.assert_array_equal(stored.mask, drawn.mask)
        assert stored.record.anomalous == record.anomalous
    np.testing.assert_array_equal(found.normal_image("ring", 1), images.normal_image("ring", 1))


def test_prepare_checks_anomaly_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mvtec(tmp_path / "btad", get_benchmark("btad").source.layout.categories, "ok", "ko")
    assert main(["prepare", "btad", "--root", str(tmp_path), "--read-all"]) == 0
    assert "btad: 02: 2 training, 2 normal, 2 anomalous of 1 defect types" in capsys.readouterr().out
    assert main(["prepare", "mvtec", "--root", str(tmp_path / "btad")]) == 1
    told = capsys.readouterr().err
    assert "categories bottle" in told and "https://www.mvtec.com" in told
    assert main(["prepare", "world-anomaly"]) == 1
    assert "--out DIR" in capsys.readouterr().err
