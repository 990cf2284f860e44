"""Autocast on the CPU, and the stand-in for mmcv's compiled half."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from ovperc.training.compat import prepare_mmseg
from ovperc.training.optim import AutocastOptimWrapper


def test_autocast_computes_in_bfloat16_and_keeps_float32_parameters() -> None:
    model = nn.Linear(4, 2)
    wrapper = AutocastOptimWrapper(dtype="bfloat16", optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model(torch.ones(3, 4))
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().sum())
    assert model.weight.dtype == torch.float32
    assert torch.allclose(model.weight, before - 0.1 * 3)


def test_unknown_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="bfloat16, float16"):
        AutocastOptimWrapper(dtype="int8")


def test_uncompiled_operators_say_so() -> None:
    prepare_mmseg()
    prepare_mmseg()
    import mmcv.ops

    extension = sys.modules["mmcv._ext"]
    if type(extension).__name__ != "_UncompiledOps":
        pytest.skip("a compiled mmcv is installed")
    assert mmcv.ops.nms is not None
    with pytest.raises(NotImplementedError, match="'carafe_forward' is not compiled"):
        extension.carafe_forward(1, 2)


def test_mmseg_models_are_built_beside_uncompiled_mmcv() -> None:
    prepare_mmseg()
    from mmengine.registry import DefaultScope
    from mmseg.models.decode_heads import FCNHead

    with DefaultScope.overwrite_default_scope("mmseg"):
        head = FCNHead(in_channels=4, channels=4, num_classes=3, num_convs=1, norm_cfg={"type": "BN"})
    assert head([torch.zeros(2, 4, 5, 6)]).shape == (2, 3, 5, 6)
