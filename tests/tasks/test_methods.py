"""Method configs: what is shipped reads, what is wrong is refused with a way out."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from ovperc.registry import AFFINITIES, LOGIT_RULES, READOUTS, REFINERS, TILERS
from ovperc.tasks.methods import list_methods, load_method
from ovperc.tasks.segmentation.method import SegMethod


def write(folder: Path, body: str) -> Path:
    path = folder / "mine.py"
    path.write_text(f'"""Mine (me, today): a trial."""\n\n{body}\n', encoding="utf-8")
    return path


MINIMAL = (
    'method = dict(readout=dict(type="BlockReadout", affinity=dict(type="Identity")), tiler=dict(type="Tiler"){extra})'
)


def test_the_methods_of_the_card_are_shipped():
    assert {"maskclip", "sclip", "clearclip", "naclip", "clip_surgery"} <= set(list_methods())


@pytest.mark.parametrize("name", list_methods("segmentation"))
def test_shipped_methods_name_registered_parts(name: str):
    method = load_method(name)
    assert method.name == name
    assert method.title
    assert method.readout["type"] in READOUTS.list()
    assert "affinity" not in method.readout or method.readout["affinity"]["type"] in AFFINITIES.list()
    assert method.tiler["type"] in TILERS.list()
    assert method.logit_rule is None or method.logit_rule["type"] in LOGIT_RULES.list()
    assert method.refiner is None or method.refiner["type"] in REFINERS.list()


def test_published_settings():
    expected = {
        "maskclip": (512, None, None, "openai85", "size"),
        "sclip": (336, 224, 112, "openai80", "scale"),
        "clearclip": (448, 448, 224, "openai80", "scale"),
        "naclip": (336, 224, 112, "openai80", "scale"),
        "clip_surgery": (512, None, None, "openai85", "bilinear_square"),
    }
    for name, settings in expected.items():
        method = load_method(name)
        view = [method.tiler.get(key) for key in ("short_side_px", "crop_px", "stride_px")]
        assert (*view, method.templates, method.pos_embed) == settings, name


def test_a_config_of_ones_own_and_its_overrides(tmp_path: Path):
    path = write(tmp_path, MINIMAL.format(extra=', templates=["a {}.", "the {}."]'))
    method = load_method(path, {"readout.residual": False, "tiler.crop_px": 64})
    assert method.title == "Mine (me, today): a trial."
    assert method.readout["residual"] is False
    assert method.tiler["crop_px"] == 64
    assert method.templates == ("a {}.", "the {}.")
    assert load_method(path, ["readout.ffn=False"]).readout["ffn"] is False


def test_a_plain_override_replaces_the_whole_part():
    method = load_method("sclip", {"tiler": {"type": "Tiler", "scale": 0.5}, "tiler.crop_px": 64, "refiner": None})
    assert method.tiler == {"type": "Tiler", "scale": 0.5, "crop_px": 64}
    assert load_method("sclip").tiler["short_side_px"] == 336
    with pytest.raises(ValueError, match="native_px"):
        load_method("sclip", {"native_px": "small"})


def test_a_base_config_is_merged():
    plain, refined = load_method("naclip"), load_method("naclip_pamr")
    assert refined.readout == plain.readout
    assert plain.refiner is None
    assert refined.refiner == {"type": "PAMR", "steps": 10, "dilations": (8, 16)}


def test_errors_offer_a_way_out(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="clearclip"):
        load_method("cleerclip")
    with pytest.raises(ValueError, match="did you mean 'refiner'"):
        load_method(write(tmp_path, MINIMAL.format(extra=", refinr=None")))
    with pytest.raises(ValueError, match="must set tiler"):
        load_method(write(tmp_path, 'method = dict(readout=dict(type="BlockReadout"))'))
    with pytest.raises(ValueError, match="method = dict"):
        load_method(write(tmp_path, "parts = dict()"))
    with pytest.raises(ValueError, match="tiler must be dict"):
        load_method("sclip").replace(tiler=336)
    with pytest.raises(ValueError, match="logit_rule must be dict"):
        load_method("sclip").replace(logit_rule="FeatureSurgery")
    with pytest.raises(ValueError, match="did you mean 'tiler'"):
        load_method("sclip").replace(tilr=None)


def test_fields_that_were_renamed_name_their_successor():
    with pytest.raises(ValueError, match="'proxy'; it is called 'guide' now"):
        load_method("proxyclip", {"proxy.weights": "dino-vitb16"})
    with pytest.raises(ValueError, match="'keep'; it is called 'max_detections' now"):
        load_method("fvlm", {"keep": 10})


def test_methods_are_frozen():
    with pytest.raises(FrozenInstanceError):
        load_method("sclip").templates = "photo"


def test_views_shrink_with_small_towers_only():
    method: SegMethod = load_method("sclip")
    sizes = ("short_side_px", "crop_px", "stride_px")
    assert [method.tiler_on(224, 16)[size] for size in sizes] == [336, 224, 112]
    assert [method.tiler_on(336, 14)[size] for size in sizes] == [336, 224, 112]
    assert [method.tiler_on(112, 8)[size] for size in sizes] == [168, 112, 56]
    assert method.tiler_on(48, 8)["crop_px"] == 48
    assert method.replace(native_px=112).tiler_on(112, 8)["crop_px"] == 224
    assert all(method.tiler_on(20, 16)[size] % 16 == 0 and method.tiler_on(20, 16)[size] > 0 for size in sizes)
    assert method.tiler["crop_px"] == 224
