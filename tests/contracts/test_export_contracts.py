"""Every method of every task is exported, or refused with what to do; a method is tested here by having a config."""

from __future__ import annotations

import re

import pytest

import ovperc
from ovperc.export.folder import TASKS
from ovperc.export.parts import ExportError
from ovperc.export.plan import ExportPlan
from ovperc.tasks.methods import list_methods

PLAN = ExportPlan(size_hw=(112, 112))
# Methods with a part that has no form in a graph, and what the refusal names.
REFUSED = {
    "anovl_tta": "AdaptiveTextHead",
    "april_gan": "AprilGanHead",
    "clip_surgery_sam": "SamPromptRefiner",
    "maskclip_ks_pd": "RuleChain",
    "naclip_pamr": "PAMR",
    "panoptic_maskclip": r"PanopticPredictor has no exported form",
    "panoptic_surgery": r"PanopticPredictor has no exported form \(exported: .*; use ovperc\.load",
    "patch_memory": r"--normal FOLDER",
    "sam_regions": "regions from elsewhere",
    "trident_sam": "SamPromptRefiner",
    "vild": "'vild'",
    "winclip": "WinClipHead",
}


@pytest.mark.parametrize("name", list_methods())
def test_exported_or_refused_before_anything_is_traced(name: str) -> None:
    predictor = ovperc.load(name)
    if name not in REFUSED:
        export = TASKS.find(predictor)(predictor, PLAN)
        assert export.fields()["embed_dim"] > 0
        return
    with pytest.raises(ExportError, match=REFUSED[name]) as refusal:
        TASKS.find(predictor)(predictor, PLAN)
    assert re.search(r"\b(pass|use)\b", str(refusal.value)), "a refusal says what to do"
