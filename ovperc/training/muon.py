"""Muon for the matrices inside transformer blocks, AdamW for everything else, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from ovperc.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS


@OPTIMIZERS.register_module()
class MuonAdamW(torch.optim.Optimizer):
    """`torch.optim.Muon` on the group marked ``matrices``, `torch.optim.AdamW` on the other.

    Args:
        params: two groups, the first with ``matrices=True`` (2-d parameters only).
        momentum: Muon's.
        betas: AdamW's.
        eps: AdamW's.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
    ) -> None:
        super().__init__(params, {"lr": 1e-3, "weight_decay": 0.0, "matrices": False})
        matrices, rest = self.param_groups
        self._parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices["params"], momentum=momentum, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest["params"], betas=betas, eps=eps, fused=True),
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update; learning rates and weight decays are those of this optimizer's groups."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part, group in zip(self._parts, self.param_groups, strict=True):
            part.state = self.state  # one state for both, so that it is saved and restored as one
            part.param_groups[0].update(lr=group["lr"], weight_decay=group["weight_decay"])
            part.step()
        return loss


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MuonConstructor(DefaultOptimWrapperConstructor):
    """Splits a model's parameters for `MuonAdamW`.

    ``optim_wrapper.optimizer`` gives ``matrix_lr`` and ``matrix_decay`` for the 2-d weights inside
    transformer blocks, ``lr`` and ``decay`` for the rest. ``blocks`` replaces the parts of names by which blocks
    are known; tables of relative positions inside them are not taken as matrices.
    """

    blocks = ("blocks.", "resblocks.")
    tables = ("rel_pos",)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Builds the optimizer wrapper of ``model``."""
        settings = dict(self.optimizer_cfg)
        blocks = tuple(settings.pop("blocks", self.blocks))
        matrices, rest = [], []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                inside = parameter.ndim == 2 and any(block in name for block in blocks)
                inside = inside and not any(table in name for table in self.tables)
                (matrices if inside else rest).append(parameter)
        groups = [
            {"params": matrices, "matrices": True, "lr": settings.pop("matrix_lr"),
             "weight_decay": settings.pop("matrix_decay", 0.0)},
            {"params": rest, "lr": settings.pop("lr"), "weight_decay": settings.pop("decay", 0.0)},
        ]  # fmt: skip
        optimizer = OPTIMIZERS.build({**settings, "params": groups})
        return OPTIM_WRAPPERS.build({"type": "OptimWrapper", **self.optim_wrapper_cfg, "optimizer": optimizer})
