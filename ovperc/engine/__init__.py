"""Training and evaluation on mmengine's Runner."""

from ovperc.engine.hooks import ProgressHook, ResumableCheckpointHook
from ovperc.engine.loops import ResumableTrainLoop
from ovperc.engine.optim import AutocastOptimWrapper

__all__ = ["AutocastOptimWrapper", "ProgressHook", "ResumableCheckpointHook", "ResumableTrainLoop"]
