"""Training and evaluation on mmengine's Runner."""

from ovperc.engine.hooks import ResumableCheckpointHook
from ovperc.engine.loops import ResumableTrainLoop

__all__ = ["ResumableCheckpointHook", "ResumableTrainLoop"]
