"""Heads against plain versions of their formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from helpers.tiny_models import EMBED_DIM, WIDTH, tiny_clip
from ovperc.tasks.anomaly.april_gan import AprilGanHead, LinearAdapters
from ovperc.tasks.anomaly.map_upsampler import MapUpsampler
from ovperc.tasks.anomaly.patch_memory import PatchMemoryHead
from ovperc.tasks.anomaly.state_texts import StateTexts
from ovperc.tasks.anomaly.text_map import TextMapHead
from ovperc.tasks.anomaly.views import NUM_VIEWS, image_views
from ovperc.tasks.anomaly.winclip import WinClipHead
from ovperc.weights.reading import CheckpointError


def _texts(seed: int = 0) -> StateTexts:
    rows = F.normalize(torch.randn(2, EMBED_DIM, generator=torch.Generator().manual_seed(seed)), dim=-1)
    return StateTexts(rows[0], rows[1], rows)


def _images(batch: int = 2, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, 40, 48, generator=torch.Generator().manual_seed(seed))


def _softmax(tokens: torch.Tensor, texts: StateTexts, tau: float) -> torch.Tensor:
    both = torch.stack([texts.normal, texts.anomalous], dim=1)
    return (F.normalize(tokens, dim=-1) @ both / tau).softmax(dim=-1)[..., 1]


@torch.inference_mode()
@pytest.mark.parametrize(("side_blocks", "taps"), [(2, (-1,)), (3, (0, 2)), (0, (1, -1))])
def test_two_class_softmax_is_the_sigmoid_of_one_product(side_blocks, taps):
    tower, texts = tiny_clip("vit").backbone, _texts()
    head = TextMapHead(side_blocks, taps, tau=0.07, pooled="bare")
    features = head.read(tower, _images())
    found = head.score(tower, features, texts)
    point = f"dual:{side_blocks}" if side_blocks else "out"
    streams = [features.dense.patches(f"{tap}.{point}") for tap in taps]
    wanted = torch.stack([_softmax(tower.project(stream), texts, 0.07) for stream in streams]).mean(0)
    assert_close(found.grid[:, 0].flatten(1), wanted, atol=1e-5, rtol=1e-4)
    assert_close(found.image, _softmax(features.dense["-1.pooled_bare"], texts, 0.07), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_image_scores_of_peaks_and_of_views():
    tower, texts, images = tiny_clip("vit").backbone, _texts(), _images()
    peak = TextMapHead(peak=1.0)
    features = peak.read(tower, images)
    assert [str(tap) for tap in features.dense.taps] == ["2.out"]
    found = peak.score(tower, features, texts)
    assert_close(found.image, found.grid.flatten(1).amax(1))
    views = TextMapHead(views=True)
    features = views.read(tower, images)
    each = [_softmax(tower.encode_pooled(view), texts, 0.07) for view in image_views(images)]
    assert len(each) == NUM_VIEWS == 22
    assert_close(views.score(tower, features, texts).image, torch.stack(each).mean(0), atol=1e-5, rtol=1e-4)


def test_views_are_exact_where_they_can_be():
    images = torch.randn(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    views = image_views(images)
    assert torch.equal(views[0], images)
    assert any(torch.allclose(view, images.rot90(2, (-2, -1)), atol=1e-5) for view in views)
    assert any(torch.allclose(view, images.rot90(1, (-2, -1)), atol=1e-5) for view in views)
    assert any(torch.equal(view, images.flip(-1)) for view in views)
    assert any(torch.equal(view[:, 0], view[:, 1]) for view in views)


@torch.inference_mode()
def test_winclip_without_and_with_normal_images():
    tower, texts = tiny_clip("vit").backbone, _texts()
    head = WinClipHead()
    features = head.read(tower, _images())
    height, width = features.grid_hw
    whole = _softmax(features.dense["-1.pooled"], texts, 0.07)

    def spread(scores: torch.Tensor, side: int) -> torch.Tensor:
        plane = torch.zeros(height, width)
        for y in range(height):
            for x in range(width):
                tops, lefts = range(y - side + 1, y + 1), range(x - side + 1, x + 1)
                inside = [
                    scores[v * (width - side + 1) + u]
                    for v in tops
                    for u in lefts
                    if 0 <= v <= height - side and 0 <= u <= width - side
                ]
                plane[y, x] = len(inside) / sum(1 / score for score in inside)
        return plane

    found = head.score(tower, features, texts)
    zero_shot = []
    for image in range(2):
        planes = [spread(_softmax(features.windows[side], texts, 0.07)[image], side) for side in (2, 3)]
        zero_shot.append(3 / (1 / whole[image] + 1 / planes[0] + 1 / planes[1]))
        assert_close(found.grid[image, 0], zero_shot[-1], atol=1e-5, rtol=1e-4)
    assert_close(found.image, whole)

    normal = head.read(tower, _images(3, seed=7))
    fitted = head.fit(tower, [normal])
    assert head.banks == () and len(fitted.banks) == 3
    few = fitted.score(tower, features, texts)
    for image in range(2):
        parts = []
        for side, own, others in (
            (1, features.dense.patches("2.out")[image], normal.dense.patches("2.out")),
            *((k, features.windows[k][image], normal.windows[k]) for k in (2, 3)),
        ):
            cosines = F.normalize(own, dim=-1) @ F.normalize(others.flatten(0, 1), dim=-1).T
            distance = (1 - cosines.amax(1)) / 2
            parts.append(distance.view(height, width) if side == 1 else spread(distance, side))
        reference = torch.stack(parts).mean(0)
        assert_close(few.grid[image, 0], (zero_shot[image] + reference) / 2, atol=1e-5, rtol=1e-4)
        assert_close(few.image[image], (whole[image] + reference.max()) / 2, atol=1e-5, rtol=1e-4)


def _adapters() -> LinearAdapters:
    torch.manual_seed(2)
    return LinearAdapters(WIDTH, EMBED_DIM, 2).requires_grad_(False)


@torch.inference_mode()
def test_april_gan_upsamples_logits_before_the_softmax():
    tower, texts = tiny_clip("vit").backbone, _texts()
    head = AprilGanHead(_adapters(), taps=(2, 0), scale=10.0)
    features = head.read(tower, _images())
    found = head.score(tower, features, texts)
    both = torch.stack([texts.normal, texts.anomalous], dim=1)
    maps = []
    for layer, block in zip(head.adapters.fc, (2, 0), strict=True):
        tokens = F.normalize(layer(features.dense.patches(f"{block}.out")), dim=-1)
        logits = (10.0 * tokens @ both).transpose(1, 2).unflatten(2, features.grid_hw)
        logits = F.interpolate(logits, (40, 48), mode="bilinear", align_corners=True)
        maps.append(logits.softmax(dim=1)[:, 1])
    upsampler = MapUpsampler(8, 0.0, align_corners=True, combine=head.combine)
    assert_close(upsampler.render_batch(found.grid, (40, 48)), sum(maps) / 2, atol=1e-4, rtol=1e-4)
    assert_close(found.image, _softmax(features.dense["-1.pooled"], texts, 0.1), atol=1e-5, rtol=1e-4)
    fitted = head.fit(tower, [features])
    assert (head.combine, fitted.combine) == ("sigmoid_mean", "mean")
    seen = fitted.score(tower, features, texts)
    assert_close(seen.image, found.image / 2, atol=1e-5, rtol=1e-4)  # its own patches are at distance 0


def test_adapter_files(tmp_path):
    torch.save({"trainable_linearlayer": _adapters().state_dict()}, tmp_path / "visa_pretrained.pth")
    head = AprilGanHead(tmp_path / "visa_pretrained.pth", taps=(0, 1))
    assert torch.equal(head.adapters.fc[1].weight, _adapters().fc[1].weight)
    with pytest.raises(ValueError, match="2 adapters for 4 taps"):
        AprilGanHead(tmp_path / "visa_pretrained.pth")
    with pytest.raises(ValueError, match=r"head\.adapters"):
        AprilGanHead()
    with pytest.raises(CheckpointError, match="no linear adapters"):
        LinearAdapters.from_table({"fc.0.weight": torch.zeros(2, 2)})
    with pytest.raises(CheckpointError, match="inconsistent adapter shapes"):
        LinearAdapters.from_table({"fc.0.weight": torch.zeros(2, 3), "fc.0.bias": torch.zeros(5)})
    tower = tiny_clip("vit-coca").backbone
    wide = AprilGanHead(LinearAdapters(WIDTH + 1, EMBED_DIM, 1), taps=(0,))
    with pytest.raises(ValueError, match="use matching weights"):
        wide.score(tower, wide.read(tower, _images()), _texts())


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["vit", "timm-stem", "resnet"])
def test_patch_memory_on_any_tower(kind):
    tower = tiny_clip(kind).backbone
    size = (96, 128) if kind == "resnet" else (40, 48)
    images = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(0))
    head = PatchMemoryHead(taps=(-1, 0), peak_share=0.2)
    with pytest.raises(ValueError, match="call fit"):
        head.score(tower, head.read(tower, images), None)
    fitted = head.fit(tower, [head.read(tower, images[:2])])
    features = head.read(tower, images[2:])
    wanted = []
    for tap in (tower.depth - 1, 0):
        bank = F.normalize(head.read(tower, images[:2]).dense.patches(f"{tap}.out").flatten(0, 1), dim=-1)
        own = F.normalize(features.dense.patches(f"{tap}.out")[0], dim=-1)
        wanted.append(1 - (own @ bank.T).amax(1))
    found = fitted.score(tower, features, None)
    mean = torch.stack(wanted).mean(0)
    assert_close(found.grid.flatten(), mean, atol=1e-5, rtol=1e-4)
    count = max(1, round(0.2 * len(mean)))
    assert_close(found.image[0], mean.topk(count).values.mean(), atol=1e-5, rtol=1e-4)


def test_heads_without_memory_say_so():
    with pytest.raises(ValueError, match="patch_memory"):
        TextMapHead().fit(tiny_clip("vit").backbone, [])
    with pytest.raises(ValueError, match="tau"):
        TextMapHead(tau=0.0)
    with pytest.raises(ValueError, match="stock"):
        TextMapHead(pooled="stok")
    with pytest.raises(ValueError, match="odd pool"):
        PatchMemoryHead(pool=2)
