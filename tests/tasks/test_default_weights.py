"""Which weights a method takes where the user names none."""

import pytest

from ovperc.data.benchmarks import BENCHMARKS, get_benchmark
from ovperc.evaluation.request import EvaluationRequest
from ovperc.tasks.load import resolve_method


@pytest.mark.parametrize("method", ["maskclip", "patch_memory"])
def test_photographs_are_the_default_where_a_convolutional_tower_serves(method: str) -> None:
    resolved = resolve_method(method)
    assert resolved.method.weights == "photo-mini"
    assert resolved.tower == "photo-mini"


@pytest.mark.parametrize("method", ["naclip", "maskclip_ks_pd", "anomalyclip", "fvlm"])
def test_methods_that_read_attention_or_own_heads_stay_on_clip_mini(method: str) -> None:
    assert resolve_method(method).tower == "clip-mini"


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name.startswith("world-")])
def test_the_world_asks_for_the_tower_that_was_trained_on_it(name: str) -> None:
    row = get_benchmark(name)
    assert EvaluationRequest("maskclip").with_weights_of(row).weights == "clip-mini"
    assert EvaluationRequest("maskclip", weights="photo-mini").with_weights_of(row).weights == "photo-mini"


def test_other_benchmarks_leave_the_weights_to_the_method() -> None:
    row = get_benchmark("coco-sample")
    assert EvaluationRequest("maskclip").with_weights_of(row).weights is None
    assert EvaluationRequest("patch_memory").with_weights_of(get_benchmark("world-anomaly")).weights == "dino-mini"
