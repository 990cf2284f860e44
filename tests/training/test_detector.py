"""Training, loading and asking of detectors on tiny towers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.tiny_models import tiny_clip
from ovperc.data.detection.batch import DetectionBatch
from ovperc.tasks.detection.load import build_detector
from ovperc.tasks.detection.method import DetectionMethod
from ovperc.tasks.detection.predictor import DetPredictor
from ovperc.tasks.detection.weights import TrainedHeads, heads_of, read_heads
from ovperc.tasks.predictor import PredictorInfo
from ovperc.text.encoder import TextEncoder
from ovperc.training.detector import OpenVocabDetector
from ovperc.training.export_weights import save_weights

HEADS = {
    "layers": (0, -1),
    "scales": (2, 1),
    "channels": 16,
    "anchor_scale": 4.0,
    "rpn_convs": 1,
    "box_convs": 1,
    "box_fc": (24,),
    "mask_convs": 1,
    "scale": 10.0,
}
WORDS = (("red star", "blue ring"), ("star", "ring"))
SMALL = {"before": (50, 40), "after": (40, 20)}


def detector(kind: str = "vit", **options) -> OpenVocabDetector:
    torch.manual_seed(0)
    heads = {**HEADS, **options.pop("heads", {})}
    settings = {"proposals": SMALL, "samples": 16, "templates": "plain", **options}
    return OpenVocabDetector(tiny_clip(kind), WORDS, heads, **settings)


def batch(images: int = 2, empty: bool = False) -> DetectionBatch:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (images, 3, 64, 64), generator=generator, dtype=torch.uint8)
    boxes, labels, masks = [], [], []
    for index in range(images):
        count = 0 if empty and index == 0 else 2
        boxes.append(torch.tensor([[4.0, 4.0, 30.0, 28.0], [20.0, 30.0, 60.0, 62.0]])[:count])
        labels.append(torch.tensor([[0, 0], [1, 1]])[:count])
        masks.append(torch.ones(count, 64, 64, dtype=torch.bool))
    return DetectionBatch(pixels, tuple(boxes), tuple(labels), tuple(masks))


def trained(model: OpenVocabDetector) -> TrainedHeads:
    state = model.export_state(model.state_dict())
    return heads_of(state, model.export_metadata(), "tiny", before=(50, 40), after=(40, 20))


def predictor(model: OpenVocabDetector | None = None, **options) -> DetPredictor:
    model = model or detector()
    clip = model._frozen[0]
    tiler = options.pop("tiler", {"type": "Tiler", "short_side_px": 48})
    method = DetectionMethod(
        name="tiny", tiler=tiler, **{"fusion": {"policy": "fvlm"}, "max_detections": 30, "min_score": 0.0, **options}
    )
    info = PredictorInfo("tiny", "random", clip.arch, clip.fingerprint, "cpu", "float32")
    encoder = TextEncoder(clip.text, clip.fingerprint, ("{}",))
    return DetPredictor(build_detector(method, clip, trained(model)), encoder, info)


def image(seed: int = 0, size_hw: tuple[int, int] = (50, 70)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["vit", "timm-stem", "siglip"])
def test_losses_fall_and_the_tower_stays(kind: str) -> None:
    model = detector(kind).train()
    tower = {name: value.clone() for name, value in model._frozen[0].backbone.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    totals = []
    for _ in range(25):
        losses = model(batch())
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert set(losses) == {"loss_objectness", "loss_rpn_box", "loss_class", "loss_box", "loss_mask"}
    assert np.mean(totals[-3:]) < 0.7 * np.mean(totals[:3])
    assert all(torch.equal(value, tower[name]) for name, value in model._frozen[0].backbone.state_dict().items())
    assert not any("tower" in name or "text" in name for name in model.state_dict())


def test_forward_modes() -> None:
    model = detector().eval()
    found = model(batch(), mode="predict")
    assert len(found) == 2 and found[0].names == WORDS[0] and found[0].size_hw == (64, 64)
    exported = predictor(
        model, tiler={"type": "Tiler"}, fusion={"policy": "text"}, vlm={"kind": "off"}, max_detections=100
    )
    again = exported.predict_batch([part.permute(1, 2, 0).numpy() for part in batch().images], model.banks[0])
    for first, second in zip(found, again, strict=True):
        assert np.array_equal(first.boxes, second.boxes) and np.array_equal(first.scores, second.scores)
    assert [part.shape[-1] for part in model(batch(), mode="tensor")] == [16, 8]
    with pytest.raises(ValueError, match="mode"):
        model(batch(), mode="losses")


@pytest.mark.parametrize("distill", ["shared", "separate"])
@pytest.mark.parametrize("stored", [False, True])
def test_distillation_teaches_the_image_branch(distill: str, stored: bool) -> None:
    branch = {"regions": 3, "crop_px": 48, "contexts": (1.0, 1.5)}
    model = detector(heads={"distill": distill}, distill=branch).train()
    data = batch()
    if stored:
        features = torch.nn.functional.normalize(torch.randn(2, 24), dim=1)
        boxes = torch.tensor([[1.0, 1.0, 20.0, 20.0], [5.0, 5.0, 40.0, 50.0]])
        data = DetectionBatch(data.images, data.boxes, data.labels, data.masks, (boxes,) * 2, (features,) * 2)
    losses = model(data)
    losses["loss_distill"].backward()
    head = model.heads.image_head if distill == "separate" else model.heads.region_head
    assert head.project.weight.grad.abs().sum() > 0
    assert model.heads.region_head.deltas.weight.grad is None or distill == "shared"


def test_images_without_objects_train() -> None:
    losses = detector().train()(batch(empty=True))
    assert all(torch.isfinite(value) for value in losses.values())
    alone = detector().train()(batch(1, empty=True))
    assert alone["loss_box"] == 0 and alone["loss_mask"] == 0


def test_a_resnet_can_be_the_backbone() -> None:
    model = OpenVocabDetector(
        tiny_clip(), WORDS, {"channels": 16, "box_convs": 0, "box_fc": (16,), "mask_convs": 0}, backbone="resnet18",
        templates="plain", proposals=SMALL, samples=8,
    )  # fmt: skip
    losses = model.train()(batch())
    sum(losses.values()).backward()
    assert model.resnet.body.conv1.weight.grad.abs().sum() > 0
    answer = predictor(model.eval(), fusion={"policy": "text"}, vlm={"kind": "off"}).predict(image(), "red star")
    assert answer.masks is None and len(answer) > 0


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="layers"):
        detector(heads={"layers": ()})
    with pytest.raises(ValueError, match="distill"):
        detector(distill={})
    with pytest.raises(ValueError, match="scales must fall"):
        detector(heads={"scales": (1, 2)})
    with pytest.raises(ValueError, match="world_phrases"):
        import ovperc.data.world.detection_batches  # noqa: F401

        OpenVocabDetector(tiny_clip(), "world_phrase", HEADS)


def test_predictions_do_not_depend_on_neighbours_or_earlier_calls() -> None:
    one = predictor()
    images = [image(0), image(1, (64, 40)), image(2)]
    bank = one.bank("red star, blue ring, green cross")
    together = one.predict_batch(images, bank)
    again = [predictor().predict(part, "red star, blue ring, green cross") for part in reversed(images)][::-1]
    for first, second in zip(together, again, strict=True):
        assert np.array_equal(first.boxes, second.boxes) and np.array_equal(first.scores, second.scores)
        assert first.found == second.found and first.masks == second.masks


def test_boxes_and_masks_lie_in_the_image() -> None:
    answer = predictor().predict(image(), "red star, blue ring")
    assert 0 < len(answer) <= 30 and answer.size_hw == (50, 70)
    assert answer.boxes.min() >= 0 and (answer.boxes <= np.array([70, 50, 70, 50])).all()
    assert (answer.boxes[:, 2:] - answer.boxes[:, :2]).min() >= 1
    assert np.all(np.diff(answer.scores) <= 0)
    assert all(tuple(mask["size"]) == (50, 70) for mask in answer.masks)


def test_words_can_change_after_training_and_encoding() -> None:
    one = predictor()
    encoded = one.encode(image())
    for words in ("red star", "quite other words, and more", "red star, blue ring"):
        asked = one.predict_encoded(encoded, words)
        assert np.array_equal(asked.boxes, one.predict(image(), words).boxes)
        assert len(asked.names) == words.count(",") + 1
    background = one.predict(image(), "red star", background="0.9, wall")
    assert background.names == ("red star",) and (background.scores > 0.9).all()


def test_base_words_get_the_weight_of_base() -> None:
    text_only = predictor(fusion={"policy": "fvlm", "base": 0.0, "novel": 0.0}).predict(image(), "red star")
    base_zero = predictor(fusion={"policy": "fvlm", "base": 0.0, "novel": 1.0}).predict(image(), "red star")
    novel_one = predictor(fusion={"policy": "fvlm", "base": 0.0, "novel": 1.0}).predict(image(), "red cross")
    plain = predictor(fusion={"policy": "text"}).predict(image(), "red star")
    assert np.allclose(text_only.scores, base_zero.scores) and np.allclose(plain.scores, text_only.scores, atol=1e-6)
    assert not np.allclose(novel_one.scores, base_zero.scores)


@pytest.mark.parametrize(
    "vlm",
    [
        {"kind": "dense"},
        {"kind": "crops", "crop_px": 48, "context": 1.2},
        {"kind": "shifted", "splits": 2, "global_every": 3, "shift": 1},
    ],
)
def test_clip_alone_can_score(vlm: dict) -> None:
    answer = predictor(vlm=vlm, fusion={"policy": "vlm"}).predict(image(), "red star, blue ring")
    assert len(answer) > 0 and answer.scores.max() <= 1


def test_heads_are_stored_and_read(tmp_path: Path) -> None:
    model = detector()
    path = tmp_path / "heads.safetensors"
    save_weights(path, model.export_state(model.state_dict()), model.export_metadata())
    heads = read_heads(path, before=(50, 40), after=(40, 20))
    assert heads.base_words == {"red star", "blue ring", "star", "ring"} and not heads.compose
    with pytest.raises(ValueError, match="trained with the text encoder"):
        heads.check(tiny_clip(seed=3))
    with pytest.raises(FileNotFoundError, match="absent"):
        read_heads(tmp_path / "absent.safetensors")
    with pytest.raises(ValueError, match="unknown heads"):
        read_heads("fvlm-mni")
    save_weights(path, model.export_state(model.state_dict()), {"name": "other"})
    with pytest.raises(ValueError, match="no heads of a detector"):
        read_heads(path)
    wrong = json.loads(model.export_metadata()["heads"]) | {"channels": 8}
    save_weights(path, model.export_state(model.state_dict()), {**model.export_metadata(), "heads": json.dumps(wrong)})
    with pytest.raises(ValueError, match="do not fit"):
        read_heads(path)


def test_bad_batches_are_refused() -> None:
    good = batch()
    with pytest.raises(ValueError, match="finite"):
        DetectionBatch(good.images, (good.boxes[0] * float("nan"), good.boxes[1]), good.labels)
    with pytest.raises(ValueError, match="one entry for each"):
        DetectionBatch(good.images, good.boxes[:1], good.labels)


def test_fourteen_pixel_patches_have_strides_of_their_own() -> None:
    from ovperc.tasks.detection.heads import HeadSettings

    settings = HeadSettings((8,) * 4, 14.0, (4, 2, 1, 0.5))
    assert settings.strides == (3.5, 7.0, 14.0, 28.0)
    assert HeadSettings.from_json(settings.to_json()) == settings
