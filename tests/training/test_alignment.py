"""Alignment training: what is trained, several processes as one, weights that are kept, released files."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch.nn import functional as F

from helpers.tiny_models import tiny_clip, tiny_open_clip
from helpers.two_processes import train_in_two_processes
from ovperc.data.region_text import RegionTextBatch
from ovperc.training.alignment import RegionAlignment, block_module
from ovperc.training.alignment_decoders import GroundedDescriptions, MaskedReconstruction, teacher_deviation
from ovperc.training.alignment_objectives import CropDistillation, MosaicContrast, TokenContrast, cut, grid_cells
from ovperc.training.alignment_weights import save_released
from ovperc.training.compat import start_cpu_group
from ovperc.training.losses.gather import gather_batch, mean_over_processes
from ovperc.weights.checkpoint import load_into
from ovperc.weights.layouts import read_weights
from ovperc.weights.locate import WeightsSource

OBJECTIVES = {
    "clim": lambda: MosaicContrast(48, (2,), singles=False),
    "clipself": lambda: CropDistillation(student_px=64, most=2, regions=3),
    "filip": lambda: TokenContrast(channels=16),
    "grain": lambda: GroundedDescriptions(queries=3, channels=16, layers=1, heads=2, feedforward=32, dropout=0.0),
    "locality": lambda: MaskedReconstruction(sigma=0.7),
}
WORDS = (
    "a red star",
    "grass",
    "a dotted ring",
    "snow",
    "two blue hearts",
    "a cross",
    "lava",
    "one arrow",
    "sand",
    "sky",
)


def _released(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file in open_clip's names."""
    return read_weights(WeightsSource(str(path), path=path), "clip").state


def batch(count: int = 8, seed: int = 0) -> RegionTextBatch:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, 2, generator=generator).sort(dim=2).values
    boxes = tuple((torch.cat([pair[:, 0] * 24, pair[:, 1] * 23 + 25], dim=1)) for pair in corners)
    return RegionTextBatch(
        torch.randint(0, 256, (count, 3, 48, 48), generator=generator, dtype=torch.uint8),
        WORDS[:count],
        None,
        boxes,
        tuple((WORDS[i], WORDS[(i + 1) % count]) for i in range(count)),
        torch.arange(100, 100 + count),
    )


def part(whole: RegionTextBatch, rows: slice) -> RegionTextBatch:
    return RegionTextBatch(
        whole.images[rows], whole.texts[rows], None, whole.boxes[rows], whole.phrases[rows], whole.seeds[rows]
    )


def task(name: str, kind: str = "vit", **settings) -> RegionAlignment:
    torch.manual_seed(0)
    return RegionAlignment(tiny_clip(kind), OBJECTIVES[name](), **{"trained_blocks": 2, **settings})


def loss_of(model, data: RegionTextBatch) -> torch.Tensor:
    return sum(value for name, value in model(batch=data, mode="loss").items() if name.startswith("loss"))


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "vit") for name in OBJECTIVES), ("clim", "eva"), ("clipself", "timm-stem")]
)
def test_one_step_changes_the_last_blocks_and_every_trained_parameter(name: str, kind: str) -> None:
    model = task(name, kind)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trained = {key for key, value in model.named_parameters() if value.requires_grad}
    frozen = [copy.deepcopy(part.state_dict()) for part in (model.clip.text, model.teacher)]
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.05)
    for _ in range(2):  # a head that starts at zero lets gradients through from the second step on
        logs = model.train_step({"batch": batch()}, OptimWrapper(optimizer))
    assert torch.isfinite(logs["loss"])
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == trained
    blocks = {key for key in trained if key.startswith("tower")}
    assert blocks
    assert not any(key.split("blocks.")[1].startswith("0.") for key in blocks), "the first block keeps still"
    for part_, state in zip((model.clip.text, model.teacher), frozen, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in part_.state_dict().items())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_lowers_the_loss(name: str) -> None:
    model, data = task(name, trained_blocks=-1), batch()
    optimizer = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], lr=3e-3)
    first = loss_of(model, data).item()
    for _ in range(12):
        optimizer.zero_grad()
        loss_of(model, data).backward()
        optimizer.step()
    assert loss_of(model, data).item() < 0.97 * first


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.grad for key, value in model.named_parameters() if value.requires_grad}


def in_process() -> tuple[dict[str, dict[str, list]], list]:
    """On one of two processes: the gradients of every objective on half a batch, and what :func:`by_hand` finds."""
    settings = start_cpu_group()
    settings.pop("type")
    rank = torch.distributed.get_rank()
    found = {}
    for name in OBJECTIVES:
        model = MMDistributedDataParallel(task(name), **settings)
        loss_of(model, part(batch(), slice(4 * rank, 4 * rank + 4))).backward()
        found[name] = {key: value.tolist() for key, value in gradients(model.module).items()}
    return found, by_hand(rank)


def by_hand(rank: int) -> list:
    rows = torch.tensor([[1.0 + rank], [3.0 + rank]], requires_grad=True)
    gather_batch(rows).square().sum().backward()
    values = torch.arange(3.0)[: 2 * rank + 1].requires_grad_()
    mean = mean_over_processes(values)
    try:
        gather_batch(torch.zeros(1 + rank, 2))
    except ValueError as error:
        return [rows.grad.flatten().tolist(), mean.item(), str(error)]
    return []


@pytest.fixture(scope="module")
def two_processes() -> list[tuple[dict[str, dict[str, list]], list]]:
    """What each of two processes found; starting them takes longer than all that they compute."""
    return train_in_two_processes(in_process)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_equal_one_with_the_joint_batch(name: str, two_processes: list) -> None:
    alone = task(name)
    loss_of(alone, batch()).backward()
    expected = gradients(alone)
    for found, _ in two_processes:
        assert set(found[name]) == set(expected)
        for key, value in expected.items():
            assert torch.allclose(torch.tensor(found[name][key]), value, rtol=2e-3, atol=2e-6), key


def test_losses_over_processes_by_hand(two_processes: list) -> None:
    for rank, (_, (gradient, mean, error)) in enumerate(two_processes):
        assert gradient == [2 * 2 * (1 + rank), 2 * 2 * (3 + rank)], "twice, for the mean over two processes"
        assert mean == pytest.approx([0.0, 2 * 3 / 4][rank])
        assert "they bring 1 to 2" in error


def test_a_mosaic_of_one_picture_is_its_mean_of_tokens() -> None:
    model = RegionAlignment(tiny_clip("vit"), MosaicContrast(48, (1,), singles=False), trained_blocks=1)
    images = model.normalized(batch(3).images)
    tokens = model.dense_tokens(images).flatten(2).mean(dim=2)
    embedded = model.objective.embed(model, images)
    assert torch.allclose(embedded, F.normalize(tokens, dim=1), atol=1e-5)


def test_pictures_that_are_left_over_stay_single() -> None:
    model = RegionAlignment(tiny_clip("vit"), MosaicContrast(48, (2,)), trained_blocks=1)
    images = model.normalized(batch(6).images)
    embedded = model.objective.embed(model, images)
    assert torch.allclose(embedded[4:], model.pooled_embeddings(images[4:]), atol=1e-6)


def test_regions_do_not_depend_on_neighbours() -> None:
    model = task("clim")
    images = model.normalized(batch(4).images)
    boxes = [torch.tensor([[3.0, 5, 20, 40], [0, 0, 48, 48]])] * 4
    together = model.region_embeddings(images, boxes)
    alone = model.region_embeddings(images[2:3], boxes[2:3])
    assert torch.allclose(together[4:6], alone, atol=1e-6)


def test_a_student_that_is_the_teacher_has_no_loss_left() -> None:
    """With class-token features of a whole picture on both sides."""
    model = task("clipself")
    whole = torch.tensor([[0.0, 0, 48, 48]])
    images = batch(2).images
    crops = torch.cat([cut(image, whole, 48) for image in images])
    assert torch.equal(crops, images)
    taught = model.teacher.encode_pooled(model.normalized(crops))
    assert torch.allclose(F.normalize(taught, dim=1), model.pooled_embeddings(model.normalized(images)), atol=1e-6)


def test_grids_are_balanced_and_cover_the_picture() -> None:
    grids = set()
    for seed in range(400):
        cells = grid_cells(60, 6, 100, torch.Generator().manual_seed(seed))
        rows, columns = len(cells[:, 1].unique()), len(cells[:, 0].unique())
        grids.add((rows, columns))
        assert (cells[:, 2:] - cells[:, :2]).prod(dim=1).sum().item() == pytest.approx(3600, rel=1e-4)
    assert len(grids) == 24
    assert all(2 * n >= m and n <= 2 * m for m, n in grids)
    assert len(grid_cells(60, 6, 20, torch.Generator().manual_seed(1))) <= 20


def test_crops_keep_their_aspect() -> None:
    image = torch.full((3, 40, 40), 200, dtype=torch.uint8)
    crop = cut(image, torch.tensor([[0.0, 0, 40, 20]]), 16)[0]
    assert (crop[:, 4:12] == 200).all()
    assert (crop[:, :4] == 0).all()
    assert (crop[:, 12:] == 0).all()
    outside = cut(image, torch.tensor([[60.0, -5, 61, 0]]), 16)
    assert outside.shape == (1, 3, 16, 16)


def test_deviation_of_the_teacher() -> None:
    model = task("locality")
    assert teacher_deviation(model, batch(4).images) > 0


def test_what_is_kept_lies_between_old_and_new_weights() -> None:
    model = task("clim", ensemble_ratio=0.7)
    with torch.no_grad():
        for value in block_module(model.tower, -1).parameters():
            value.add_(1.0)
    kept = model.export_state(model.state_dict())
    original = tiny_open_clip("vit").state_dict()
    last = "visual.transformer.resblocks.2.mlp.c_fc.weight"
    assert torch.allclose(kept[last], original[last] + 0.7, atol=1e-5)
    assert torch.equal(kept["visual.conv1.weight"], original["visual.conv1.weight"])
    assert set(kept) == set(original), "the whole dual encoder, in OpenCLIP's layout"
    load_into(tiny_open_clip("vit", seed=1), kept, "tiny", "kept")


@pytest.mark.parametrize("kind", ["vit", "eva"])
@pytest.mark.parametrize("nest", ["state_dict", "model", "module", "prefix", "root"])
def test_released_files_load_unchanged(tmp_path: Path, kind: str, nest: str) -> None:
    """The layouts of CLIM's (OpenAI's keys) and CLIPSelf's (EVA-CLIP's keys) released towers."""
    model = tiny_open_clip(kind)
    state = released_layout(model.state_dict(), kind)
    if nest == "prefix":
        state = {f"module.{key}": value for key, value in state.items()}
    nested = {"epoch": 6, "name": "x", nest: state, "optimizer": {"state": {}}}
    torch.save(state if nest in ("prefix", "root") else nested, tmp_path / "epoch_6.pt")
    other = tiny_open_clip(kind, seed=3)
    load_into(other, _released(tmp_path / "epoch_6.pt"), "tiny", "epoch_6.pt")
    images, tokens = torch.rand(2, 3, 48, 48), torch.arange(77)[None]
    with torch.no_grad():
        assert torch.equal(other.encode_image(images), model.encode_image(images))
        assert torch.equal(other.encode_text(tokens), model.encode_text(tokens))


_EVA_KEYS = (
    ("visual.trunk.", "visual."),
    ("mlp.fc1_g", "mlp.w1"),
    ("mlp.fc1_x", "mlp.w2"),
    ("mlp.fc2", "mlp.w3"),
    ("mlp.norm.", "mlp.ffn_ln."),
    ("attn.norm.", "attn.inner_attn_ln."),
    ("attn.q_proj.bias", "attn.q_bias"),
    ("attn.v_proj.bias", "attn.v_bias"),
)


def released_layout(state: dict[str, torch.Tensor], kind: str) -> dict[str, torch.Tensor]:
    """timm's Eva as EVA-CLIP's authors name it, with the rotary tables that every block carries there."""
    if kind == "vit":
        return dict(state)
    found = {}
    for key, value in state.items():
        for timm_name, name in _EVA_KEYS:
            key = key.replace(timm_name, name) if key.startswith("visual") else key
        found[key] = value
    for place in ("rope", *(f"blocks.{layer}.attn.rope" for layer in range(3))):
        found[f"visual.{place}.freqs_cos"] = found[f"visual.{place}.freqs_sin"] = torch.zeros(36, 16)
    return found


def test_saved_as_the_authors_do(tmp_path: Path) -> None:
    model = task("clim")
    save_released(tmp_path / "clim.pt", model.export_state(model.state_dict()), epoch=2, name="clim")
    stored = torch.load(tmp_path / "clim.pt", weights_only=True)
    assert (stored["epoch"], stored["name"]) == (2, "clim")
    other = tiny_open_clip("vit", seed=5)
    load_into(other, _released(tmp_path / "clim.pt"), "tiny", "clim.pt")
    assert torch.equal(other.visual.proj, model.clip.backbone.tower.proj)


def test_fresh_blocks_start_anew() -> None:
    model = task("clim", ensemble_ratio=1.0, reinitialised_blocks=1)
    original = model.teacher.tower.state_dict()
    changed = {key for key, value in model.tower.tower.state_dict().items() if not torch.equal(value, original[key])}
    assert changed
    assert all("resblocks.2." in key for key in changed)
    with pytest.raises(ValueError, match=r"use ensemble_ratio=1; got 0\.7"):
        task("clim", reinitialised_blocks=1)


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match=r"trained_blocks must be -1 or in 1\.\.3"):
        task("clim", trained_blocks=4)
    with pytest.raises(ValueError, match=r"ensemble_ratio must be in 0\.\.1; got 2"):
        task("clim", ensemble_ratio=2)
    with pytest.raises(ValueError, match="no transformer blocks"):
        RegionAlignment(tiny_clip("resnet"), MosaicContrast(96), trained_blocks=1)
    with pytest.raises(ValueError, match="does not fill one mosaic of each side"):
        task("clim")(batch(3))
    with pytest.raises(ValueError, match="leaves 1 pictures single, but singles=False"):
        task("clim")(batch(5))
    with pytest.raises(ValueError, match="needs a batch with one seed per image"):
        task("locality")(RegionTextBatch(batch(2).images))
    with pytest.raises(ValueError, match="texts, boxes and phrases"):
        task("grain")(RegionTextBatch(batch(2).images, WORDS[:2]))
    with pytest.raises(ValueError, match=r"one entry per image \(2\); got 1"):
        RegionTextBatch(batch(2).images, ("a",))
