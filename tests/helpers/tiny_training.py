"""A model of a few weights and its data, for tests of the training engine."""

from __future__ import annotations

import random
import time

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from ovperc.registry import DATASETS, METRICS, MODELS


@DATASETS.register_module(force=True)
class NoisyLines(Dataset):
    """Points of a line with noise from all three global generators, as an augmentation would draw it."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        noise = random.random() + np.random.rand() + torch.rand(()).item()  # noqa: NPY002
        x = torch.full((4,), index / 24.0) + 0.01 * noise
        return {"inputs": x, "targets": 2 * x.sum() + 1}


@MODELS.register_module(force=True)
class DropoutRegressor(BaseModel):
    """A perceptron with dropout, so that training draws from the main process's generator too."""

    def __init__(self, pause_s: float = 0.0) -> None:
        super().__init__()
        self.pause_s = pause_s
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor, mode: str = "loss"):
        errors = (self.layers(inputs).squeeze(-1) - targets).square()
        if mode == "predict":
            return [{"error": float(error)} for error in errors]
        time.sleep(self.pause_s)
        return {"loss": errors.mean()}


@METRICS.register_module(force=True)
class MeanError(BaseMetric):
    """Mean squared error; draws from the global generator, as a careless metric might."""

    default_prefix = "val"

    def process(self, data_batch, data_samples) -> None:
        self.results += [sample["error"] + 1e-9 * torch.rand(()).item() for sample in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {"error": float(np.mean(results))}
