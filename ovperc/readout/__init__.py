"""Readouts: where a method applies its affinity, and what it keeps of the blocks around it."""

from __future__ import annotations

from ovperc.readout.base import Readout
from ovperc.readout.block import BlockReadout
from ovperc.readout.dinoiser import DinoiserAffinityReadout, DinoiserHeads, DinoiserReadout
from ovperc.readout.dual_path import DualPathReadout
from ovperc.readout.pooled import PooledReadout

__all__ = [
    "BlockReadout",
    "DinoiserAffinityReadout",
    "DinoiserHeads",
    "DinoiserReadout",
    "DualPathReadout",
    "PooledReadout",
    "Readout",
]
