"""What towers change in methods: precedence, merging, companions, and the origin of every setting."""

from __future__ import annotations

from pathlib import Path

import pytest

import ovperc
from ovperc.readout import BlockReadout, DualPathReadout
from ovperc.tasks import overlay as overlays
from ovperc.tasks.load import resolve_method
from ovperc.tasks.methods import list_methods, load_method, read_method
from ovperc.tasks.overlay import TowerOverlay, find_overlay

PART = {"type": "A", "size": 1, "source": None, "inner": {"type": "B", "gamma": 2}}


def overlay(**changes: object) -> TowerOverlay:
    return TowerOverlay("mini", methods={"m": changes})


def test_dicts_merge_unless_they_name_another_type():
    fields = {"part": PART, "scale": 40}
    merged = overlay(part={"size": 5, "inner": {"gamma": 9}}, scale=7).apply(fields, "t", "m", ())
    assert merged == {"part": {**PART, "size": 5, "inner": {"type": "B", "gamma": 9}}, "scale": 7}
    other = overlay(part={"type": "C", "x": 1}).apply(fields, "t", "m", ())
    assert other["part"] == {"type": "C", "x": 1}
    replaced = overlay(part={"_delete_": True, "type": "A"}).apply(fields, "t", "m", ())
    assert replaced["part"] == {"type": "A"}
    assert overlay(part={"size": 5}).apply(fields, "t", "another", ()) == fields
    layered = TowerOverlay("tower", tasks={"t": {"scale": 7, "step": 1}, "u": {"scale": 8}})
    assert layered.apply({}, "u", "m", (), extends="t") == {"scale": 8, "step": 1}
    assert layered.apply({}, "u", "m", ()) == {"scale": 8}


def test_a_field_of_the_user_is_only_filled():
    fields = {"part": {**PART, "size": 3}}
    change = {"size": 5, "source": "prompts"}
    assert overlay(part=change).apply(fields, "t", "m", ["part.size"])["part"] == {
        **PART,
        "size": 3,
        "source": "prompts",
    }
    assert overlay(part={"type": "C"}).apply(fields, "t", "m", ["part.size"]) == fields


def test_sizes_of_the_user_are_scaled_as_without_an_overlay():
    resolved = read_method("sclip", {"tiler.crop_px": 448}).on("clip-mini")
    assert (resolved.method.tiler["crop_px"], resolved.method.native_px) == (448, 224)
    assert read_method("sclip").on("clip-mini").method.native_px == 112


def test_companions_take_the_place_of_published_weights_only():
    rename = TowerOverlay("mini", companions={"big": "small"})
    fields = {"guide": {"type": "G", "weights": "big", "inner": {"weights": "big"}}, "weights": "big"}
    assert rename.apply(fields, "t", "m", ())["guide"] == {
        "type": "G",
        "weights": "small",
        "inner": {"weights": "small"},
    }
    assert rename.apply(fields, "t", "m", ())["weights"] == "big"
    for key in ("guide.weights", "guide"):
        assert rename.apply(fields, "t", "m", [key])["guide"]["weights"] == "big"


def test_methods_without_an_overlay_are_as_published():
    for name in list_methods():
        assert read_method(name).on("ViT-B-16").method == load_method(name) == read_method(name).on(None).method
    assert find_overlay("ViT-B-16") is None and find_overlay(None) is None


@pytest.mark.parametrize("name", list_methods())
def test_shipped_overlays_fit_every_method(name: str):
    resolved = read_method(name).on("clip-mini")
    assert resolved.tower == "clip-mini"
    origins = {path: origin for path, _, origin in resolved.settings()}
    assert set(origins.values()) <= {"method", "tower", "default"} and "tower" in origins.values()


def test_origins():
    resolved = resolve_method("proxyclip", "clip-mini", overrides={"readout.affinity.gamma": 5.0, "classifier": {}})
    rows = {path: (value, origin) for path, value, origin in resolved.settings()}
    assert rows["readout.affinity.gamma"] == (5.0, "user") and rows["classifier"] == ({}, "user")
    assert rows["readout.residual"] == (False, "method")
    assert rows["guide.weights"] == ("dino-mini", "tower") and rows["guide.zoom"] == (1.5, "tower")
    assert rows["refiner"] == (None, "default")
    assert resolve_method("proxyclip", "clip-mini", as_published=True).tower is None
    assert resolve_method("patch_memory").tower == "photo-mini"
    assert resolve_method("patch_memory", "dino-mini").tower == "dino-mini"


def test_loading_applies_the_overlay_of_the_tower():
    assert isinstance(ovperc.load("proxyclip").segmenter.readout, DualPathReadout)
    published = ovperc.load("proxyclip", as_published=True, **{"guide.weights": "dino-mini"})
    assert isinstance(published.segmenter.readout, BlockReadout)
    assert published.resolved.tower is None
    mine = ovperc.load("proxyclip", **{"readout.residual": True})
    assert mine.segmenter.readout.residual is True and mine.resolved.method.logit_rule["type"] == "FeatureSurgery"


def test_a_file_that_is_no_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "towers").mkdir()
    monkeypatch.setattr(overlays, "config_root", lambda: tmp_path)
    (tmp_path / "towers" / "odd.py").write_text("methods = dict()\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no tower overlay"):
        find_overlay("odd")
    (tmp_path / "towers" / "odd.py").write_text("tower = dict(method=dict())\n", encoding="utf-8")
    with pytest.raises(ValueError, match="tasks, methods and companions"):
        find_overlay("odd")
