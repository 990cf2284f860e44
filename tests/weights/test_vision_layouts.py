"""Image towers and SAMs in every published layout give the tokens of the library they come from."""

from functools import partial

import pytest
import timm
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import nn

import ovperc
from helpers.hub_folders import cache_repository, write_json
from helpers.tiny_models import jitter
from ovperc.backbones.dino import build_trunk, load_dino
from ovperc.backbones.sam import build_sam, infer_sam, load_sam
from ovperc.weights.errors import CheckpointError

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 8}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("OVPERC_OFFLINE", "1")
    with torch.no_grad():
        yield


def assert_tokens(model, expected, images=IMAGES):
    found = model.backbone.forward_dense(images, ["-1.final"])["-1.final"]
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.layout("transformers' ViT and DINOv2")
@pytest.mark.parametrize("form", ["saved", "state_dict"])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("registers", [0, 3])
def test_transformers_dinov2(tmp_path, registers, gated, form):
    kind = transformers.Dinov2WithRegistersConfig if registers else transformers.Dinov2Config
    config = kind(**SIZES, image_size=32, use_swiglu_ffn=gated)
    if registers:
        config.num_register_tokens = registers
    build = transformers.Dinov2WithRegistersModel if registers else transformers.Dinov2Model
    reference = jitter(build(config).eval())
    _save(reference, tmp_path, form)
    assert_tokens(load_dino(tmp_path), reference(IMAGES).last_hidden_state)


@pytest.mark.layout("transformers' ViT and DINOv2")
@pytest.mark.parametrize("form", ["saved", "state_dict"])
@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ("ViTConfig", "ViTModel"),
        ("ViTMAEConfig", "ViTMAEForPreTraining"),
        ("Dinov2Config", "Dinov2ForImageClassification"),
    ],
)
def test_transformers_vit(tmp_path, config, kind, form):
    """DINO and MAE on the hub, and towers under a head."""
    decoder = {f"decoder_{name}": 32 for name in ("hidden_size", "intermediate_size")}
    decoder.update(decoder_num_hidden_layers=1, decoder_num_attention_heads=2, mask_ratio=0.0)
    sizes = {**SIZES, "image_size": 32, **(decoder if "MAE" in kind else {})}
    sizes.update({} if "Dinov2" in kind else {"intermediate_size": 96})
    reference = jitter(getattr(transformers, kind)(getattr(transformers, config)(**sizes)).eval())
    _save(reference, tmp_path, form)
    inner = getattr(reference, "vit", None) or getattr(reference, "dinov2", None) or reference
    noise = {"noise": torch.arange(16.0).expand(2, 16)} if "MAE" in kind else {}
    assert_tokens(load_dino(tmp_path), inner(IMAGES, **noise).last_hidden_state)


@pytest.mark.layout("transformers' DINOv3")
@pytest.mark.parametrize("form", ["saved", "state_dict"])
@pytest.mark.parametrize("gated", [False, True])
def test_transformers_dinov3(tmp_path, gated, form):
    """Query and value biases that are not zero are kept; S/16+, H+ and 7B have gated feed-forward parts."""
    config = transformers.DINOv3ViTConfig(
        **SIZES, image_size=32, intermediate_size=88, num_register_tokens=4, use_gated_mlp=gated, hidden_act=_act(gated)
    )
    reference = jitter(transformers.DINOv3ViTModel(config).eval())
    _save(reference, tmp_path, form)
    assert_tokens(load_dino(tmp_path), reference(IMAGES).last_hidden_state)


def _act(gated: bool) -> str:
    return "silu" if gated else "gelu"


def _save(reference: nn.Module, folder, form: str) -> None:
    if form == "saved":
        reference.save_pretrained(folder)
    else:
        reference.config.save_pretrained(folder)
        torch.save(reference.state_dict(), folder / "weights.bin")


def _tiny_dinov3(qkv_bias: bool, gated: bool) -> Eva:
    return timm.create_model(
        "vit_small_patch16_dinov3",
        embed_dim=128,
        depth=2,
        num_heads=2,
        qkv_bias=qkv_bias,
        swiglu_mlp=gated,
        swiglu_align_to=8 if gated else 0,
        num_classes=0,
    )


@pytest.mark.layout("timm's DINOv3")
@pytest.mark.layout("DINOv3 as Meta publishes it")
@pytest.mark.parametrize("layout", ["timm", "meta"])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_dinov3_files(tmp_path, bias, gated, layout):
    reference = jitter(_tiny_dinov3(bias, gated).eval())
    state = dict(reference.state_dict())
    if layout == "meta":
        state = _as_meta(state, bias)
    torch.save(state, tmp_path / "dinov3.pth")
    images = torch.randn(1, 3, 64, 64)
    model = load_dino(tmp_path / "dinov3.pth")
    assert_tokens(model, reference.forward_features(images), images)
    assert model.backbone.tower.blocks[0].attn.num_heads == 2


def _as_meta(state: dict, bias: bool) -> dict:
    renamed = {"rope_embed.periods": torch.ones(16), "mask_token": torch.zeros(1, 128)}
    for name, value in state.items():
        name = name.replace("reg_token", "storage_tokens").replace("gamma_1", "ls1.gamma")
        name = name.replace("gamma_2", "ls2.gamma").replace("fc1_g", "w1").replace("fc1_x", "w2")
        name = name.replace("fc2", "w3") if "blocks.0.mlp.fc1_g.weight" in state else name
        renamed[name] = value
    for layer in range(2):
        stem = f"blocks.{layer}.attn."
        query = renamed.pop(f"{stem}q_bias", torch.zeros(128))
        value = renamed.pop(f"{stem}v_bias", torch.zeros(128))
        renamed.pop(f"{stem}k_bias", None)
        keys = torch.full((128,), 3.0)  # masked: the layer never adds it
        renamed[f"{stem}qkv.bias"] = torch.cat([query, keys, value])
        renamed[f"{stem}qkv.bias_mask"] = torch.cat([torch.ones(128), torch.zeros(128), torch.ones(128)])
    return renamed


@pytest.mark.layout("a plain ViT (timm, DINO, DINOv2, MAE)")
def test_heads_of_mae_huge(tmp_path):
    """80 wide at width 1280 and depth 32; where nothing tells, num_heads does."""
    from ovperc.weights.vision_layouts import heads_of

    with torch.device("meta"):
        huge = timm.create_model("vit_huge_patch14_224", img_size=28)
    assert heads_of(1280, 32) == huge.blocks[0].attn.num_heads == 16
    assert heads_of(768, 12) == 12
    trunk = jitter(build_trunk("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_heads=6))
    torch.save(trunk.state_dict(), tmp_path / "w.pth")
    assert_tokens(load_dino(tmp_path / "w.pth", num_heads=6), trunk.forward_features(IMAGES))


@pytest.mark.layout("a plain ViT (timm, DINO, DINOv2, MAE)")
def test_timm_repository_by_hub_name_and_from_its_folder(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    trunk = jitter(timm.create_model("vit_tiny_patch16_224", num_classes=10).eval())
    torch.save(trunk.state_dict(), files / "pytorch_model.bin")
    write_json(
        files / "config.json",
        {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}},
    )
    cache_repository(tmp_path / "hub" / "hub", "lab/tiny", files)
    images = torch.randn(1, 3, 224, 224)
    for name in ("hf-hub:lab/tiny", files):
        model = load_dino(name)
        assert_tokens(model, trunk.forward_features(images), images)
        assert model.arch == "vit_tiny_patch16_224"
        assert model.preprocess.mean == (0.1, 0.2, 0.3)
    assert ovperc.load("patch_memory", "hf-hub:lab/tiny").info.arch == "vit_tiny_patch16_224"


@pytest.mark.layout("C-RADIO")
@pytest.mark.parametrize("tokens", [8, 10])
def test_radio(tmp_path, tokens):
    """The 128 x 128 table is cut as RADIO does, on a grid that is not square; equal to timm's own conversion."""
    sizes = {"patch_size": 4, "embed_dim": 128, "depth": 2, "num_heads": 2, "init_values": 1e-5, "num_classes": 0}
    sizes.update(reg_tokens=tokens - 1, no_embed_class=True, final_norm=False)
    reference = jitter(VisionTransformer(img_size=(12, 20), **sizes).eval())
    inner = {
        "patch_generator.embedder.weight": reference.patch_embed.proj.weight.flatten(1).clone(),
        "patch_generator.pos_embed": torch.randn(1, 128 * 128, 128),
        "patch_generator.cls_token.token": torch.cat([reference.cls_token, reference.reg_token], dim=1)[0],
    }
    blocks = {name: value for name, value in reference.state_dict().items() if name.startswith("blocks.")}
    inner |= {name.replace(".ls1.gamma", ".ls1.grandma"): value for name, value in blocks.items()}
    state = {f"radio_model.model.{name}": value for name, value in inner.items()}
    torch.save({**state, "radio_model.summary_idxs": torch.arange(3)}, tmp_path / "radio.bin")
    convert = partial(checkpoint_filter_fn, interpolation="bilinear", antialias=False, align_corners=False)
    reference.load_state_dict(convert(dict(state), reference))
    images = torch.randn(1, 3, 12, 20)
    model = load_dino(tmp_path / "radio.bin")
    assert_tokens(model, reference.forward_features(images), images)
    assert model.backbone.num_prefix == tokens and model.preprocess.mean[0] == pytest.approx(0.48145466)


@pytest.fixture(scope="module")
def sam():
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
            "output_channels": 32,
            "global_attn_indexes": [1],
            "window_size": 4,
            "num_pos_feats": 16,
            "mlp_dim": 128,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 8},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 1, "mlp_dim": 64, "iou_head_hidden_dim": 48},
    )
    return jitter(transformers.SamModel(config).eval(), scale=0.1)


@pytest.mark.layout("transformers' SamModel")
def test_transformers_sam(tmp_path, sam):
    """The encoder's features, and a mask from a point, through segment-anything's own classes."""
    sam.save_pretrained(tmp_path)
    backbone = load_sam(tmp_path)
    images = torch.randn(1, 3, 64, 64)
    expected = sam.get_image_embeddings(images)
    features = backbone.sam.image_encoder(images)
    assert (features - expected).abs().max() <= 1e-4 * expected.abs().max()
    points = torch.tensor([[[[20.0, 30.0]]]])
    answer = sam(image_embeddings=expected, input_points=points, input_labels=torch.ones(1, 1, 1, dtype=torch.long))
    sparse, dense = backbone.sam.prompt_encoder((points[0], torch.ones(1, 1)), None, None)
    masks, scores = backbone.sam.mask_decoder(
        expected, backbone.sam.prompt_encoder.get_dense_pe(), sparse, dense, multimask_output=True
    )
    assert (masks - answer.pred_masks[0]).abs().max() <= 1e-4 * masks.abs().max()
    assert (scores - answer.iou_scores[0]).abs().max() <= 1e-4


def test_sam_by_catalogue_name_from_transformers_cache(tmp_path, sam):
    sam.save_pretrained(tmp_path / "files")
    cache_repository(tmp_path / "hub" / "hub", "facebook/sam-vit-base", tmp_path / "files")
    assert load_sam("sam-vit-b").width == 64


def test_weights_of_another_family_are_named(tmp_path, sam):
    sam.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"transformers' SamModel: a SAM, where an image tower .* is needed"):
        load_dino(tmp_path)
    with pytest.raises(ValueError, match=r"'sam-vit-b' is a SAM, where an image tower without words is needed"):
        load_dino("sam-vit-b")
    torch.save({"foreign.weight": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"in no layout .* first tensors are foreign\.weight"):
        load_sam(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["image_encoder.trunk.patch_embed.proj.weight"], "SAM 2, which ovperc does not run: .*use sam-vit-b"),
        (["detector.backbone.weight", "tracker.memory.weight"], "SAM 3, .*use sam-vit-h"),
        (["image_encoder.patch_embed.seq.0.c.weight"], "MobileSAM, .*TinyViT.*use sam-vit-b"),
        (["image_encoder.patch_embed.proj.weight", "mask_decoder.hf_token.weight"], "SAM-HQ, .*equals sam-vit-b"),
        (["image_encoder.patch_embed.proj.weight", "mask_decoder.mask_tokens.weight"], "EfficientSAM, .*use sam-vit-b"),
        (["vision_model.embeddings.patch_embedding.weight"], "without its text tower, .*take the model with both"),
    ],
)
def test_networks_that_are_not_run_say_what_to_use(tmp_path, names, message):
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=message):
        load_sam(tmp_path / "weights.pt")


@pytest.mark.layout("SAM")
def test_own_layout_of_sam_is_unchanged(tmp_path, sam):
    sam.save_pretrained(tmp_path / "files")
    inner = load_sam(tmp_path / "files").sam
    torch.save(inner.state_dict(), tmp_path / "sam.pth")
    again = build_sam(infer_sam(inner.state_dict()))
    again.load_state_dict(load_sam(tmp_path / "sam.pth").sam.state_dict())
    assert all(torch.equal(value, inner.state_dict()[name]) for name, value in again.state_dict().items())
