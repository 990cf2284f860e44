"""Numbers and wording of the composed sentences."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.testing import assert_close

from helpers.tiny_models import tiny_clip
from ovperc.tasks.anomaly.state_prompts import medium_templates, state_prompts
from ovperc.tasks.anomaly.state_texts import ComposedTexts


@pytest.mark.parametrize(
    ("name", "normal", "anomalous"), [("anovl", 462, 462), ("winclip", 147, 84), ("april_gan", 245, 175)]
)
def test_numbers_of_sentences(name, normal, anomalous):
    prompts = state_prompts(name, "bottle")
    assert (len(prompts.normal), len(prompts.anomalous)) == (normal, anomalous)
    assert all("bottle" in sentence and "{" not in sentence for sentence in prompts.normal + prompts.anomalous)


def test_wording():
    assert len(set(medium_templates("industrial photo"))) == 22
    anovl = state_prompts("anovl", "metal_nut")
    assert "an industrial image of the metal_nut without flaw for anomaly detection" in anovl.normal
    assert "a blurry manufacturing image of a imperfect metal_nut" in anovl.anomalous
    assert not any(sentence.endswith(".") for sentence in anovl.normal)
    assert any("surface picture" in sentence for sentence in state_prompts("anovl", "wood").normal)
    assert any("a macaroni" in sentence for sentence in state_prompts("anovl", "macaroni2").normal)
    winclip = Counter(state_prompts("winclip", "bottle").normal)
    assert winclip["a jpeg corrupted photo of the bottle."] == 2
    assert winclip["a jpeg corrupted photo of a bottle."] == 0 == winclip["a cropped photo of a bottle."]
    april = state_prompts("april_gan", "bottle").anomalous
    assert "there is the bottle with defect in the scene." in april
    assert "a photo of a cool broken bottle." in april
    assert len(set(april)) == 175


def test_unknown_sets_and_empty_names():
    with pytest.raises(ValueError, match="winclip"):
        state_prompts("winklip", "bottle")
    with pytest.raises(ValueError, match="object_name"):
        state_prompts("anovl", "  ")


@pytest.mark.parametrize("name", ["anovl", "april_gan"])
def test_ensemble_rules(name):
    tower = tiny_clip("vit").text
    texts = ComposedTexts(tower, name)("star")
    prompts = state_prompts(name, "star")
    with torch.no_grad():
        rows = tower.encode_tokens(tower.tokenize(list(prompts.anomalous))).float()
    unit = torch.nn.functional.normalize(rows, dim=-1)
    mean = (rows if name == "anovl" else unit).mean(dim=0)
    assert_close(texts.anomalous, mean / mean.norm(), atol=1e-5, rtol=1e-4)
    assert_close(texts.bank[len(prompts.normal) :], unit, atol=1e-5, rtol=1e-4)
    assert not texts.bank.is_inference()
