"""Affinities: which tokens a patch gathers its value from."""

from __future__ import annotations

from ovperc.affinity.base import Affinity, AttentionInputs, Identity
from ovperc.affinity.ensemble import EnsembleAttention
from ovperc.affinity.guide import GuideAffinity
from ovperc.affinity.neighbour import NeighbourAttention
from ovperc.affinity.self_attention import SelfAttention

__all__ = [
    "Affinity",
    "AttentionInputs",
    "EnsembleAttention",
    "GuideAffinity",
    "Identity",
    "NeighbourAttention",
    "SelfAttention",
]
