"""The pipeline that anomaly figures are timed against gives the same figures."""

from __future__ import annotations

import pytest

from benchmarks.anomaly_metrics import many_maps_call, sample_maps, usual_pipeline
from ovperc.evaluation.metrics.anomaly import pixel_scores
from ovperc.evaluation.metrics.anomaly_counts import ScoredMap


@pytest.mark.parametrize("label_once", [False, True])
def test_usual_pipeline_agrees(label_once: bool) -> None:
    pytest.importorskip("sklearn")
    maps, masks = sample_maps(4, 96)
    usual = usual_pipeline(maps, masks, label_once)
    found = pixel_scores(lambda: [ScoredMap(m, t) for m, t in zip(maps, masks, strict=True)], legacy=True)
    assert found.ranking.auroc == pytest.approx(usual["AUROC"], abs=1e-9)
    assert found.ranking.ap == pytest.approx(usual["AP"], abs=1e-9)
    assert found.ranking.f1_max == pytest.approx(usual["F1"], abs=1e-9)
    assert found.legacy_aupro == pytest.approx(usual["PRO"], abs=1e-6)


def test_measured_evaluation_runs() -> None:
    (scores,) = many_maps_call(6)().values()
    assert scores.counts.defective_pixels == 3 * 30 * 30
