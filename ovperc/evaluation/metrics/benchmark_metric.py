"""The metric of ``tools/test.py``: every score of an image counted at once, resumable, summed over processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.evaluator import BaseMetric

from ovperc.evaluation.metrics.evaluation_state import EvaluationState
from ovperc.registry import METRICS


@METRICS.register_module()
class BenchmarkMetric(BaseMetric):
    """Feeds an ``EvaluationState`` from mmseg's data samples.

    A sample needs ``pred_sem_seg``, ``gt_sem_seg`` and the metainfo ``index``; with the absent-class protocol also
    ``presence``.

    Args:
        state: receives the images of this process.
        earlier: counts of earlier attempts, added at the end.
        on_sample: called after each image with its data sample, such as to store the prediction or the progress.
        **settings: as for mmengine's ``BaseMetric``.

    Attributes:
        total: after :meth:`evaluate`, the counts of all processes and attempts.
    """

    def __init__(
        self,
        state: EvaluationState,
        earlier: EvaluationState,
        on_sample: Callable[[Mapping[str, Any]], None] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**{"prefix": "seg", **settings})
        self.state = state
        self.earlier = earlier
        self.on_sample = on_sample
        self.total: EvaluationState | None = None

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Counts one batch; ``data_batch`` is not looked at."""
        for sample in data_samples:
            prediction, target = (sample[key]["data"].squeeze(0) for key in ("pred_sem_seg", "gt_sem_seg"))
            self.state.update(sample["index"], prediction, target)
            asked = sample.get("presence")
            if asked is not None:
                counted = target != self.state.matrix.ignore_index
                self.state.presence.update(asked.labels, asked.confidence, counted, asked.is_present)
            if self.on_sample is not None:
                self.on_sample(sample)

    def evaluate(self, size: int) -> dict[str, float]:
        """Sums over processes and attempts; returns the scores."""
        total = sum_over_processes(self.state)
        if int(total.done.sum()) != size:
            raise ValueError(
                f"{int(total.done.sum())} images were counted of {size}; "
                "use sampler=dict(type='DefaultSampler', shuffle=False, round_up=False)"
            )
        total.add(self.earlier)
        self.total = total
        return {f"{self.prefix}/{name}": value for name, value in self.compute_metrics([total]).items()}

    def compute_metrics(self, results: list[EvaluationState]) -> dict[str, float]:
        """Scores of one state, in percent."""
        (total,) = results
        return total.scores((self.dataset_meta or {}).get("groups", {}))


def sum_over_processes(state: EvaluationState) -> EvaluationState:
    """The counts of all processes; every process gets them. Each image must be counted by one process only."""
    tensors = {name: tensor.clone() for name, tensor in state.tensors().items() if name not in ("done", "worst")}
    for tensor in tensors.values():
        all_reduce(tensor)
    done = state.done.to(torch.int64)
    all_reduce(done)
    if int(done.max()) > 1:
        raise ValueError(
            f"image {int(done.argmax())} was counted by {int(done.max())} processes; "
            "use sampler=dict(type='DefaultSampler', shuffle=False, round_up=False)"
        )
    worst = torch.cat(all_gather_object(state.worst))
    matrix = state.matrix
    total = EvaluationState(len(done), matrix.num_classes, matrix.ignore_index, matrix.absent, state.keep_worst)
    total.add_tensors({**tensors, "done": done.bool(), "worst": worst})
    return total
