"""What the models share whose batches are values of their own, not mmengine's dicts of tensors."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModel
from torch import Tensor


class BatchModel(BaseModel):
    """A model that takes a batch as one argument: ``forward(batch, mode)``, without a data preprocessor."""

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """One optimisation step; returns what is logged."""
        with optim_wrapper.optim_context(self):
            losses = self(data, mode="loss")
        parsed, logs = self.parse_losses(losses)
        optim_wrapper.update_params(parsed)
        return logs
