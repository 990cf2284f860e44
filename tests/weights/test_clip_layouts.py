"""Dual encoders in every published layout give the features of the library they come from."""

import copy
import json

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers.hub_folders import save_tokenizer, write_json
from helpers.tiny_models import TEXT_CFG, jitter, scramble
from ovperc.backbones.loading import load_clip
from ovperc.weights.errors import CheckpointError, MissingWeightsError

transformers = pytest.importorskip("transformers")

TOWER = {"intermediate_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
WORDS = ["a red star", "grass"]
PLAIN = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {**TEXT_CFG, "width": 64, "heads": 1},
}


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("OVPERC_OFFLINE", "1")
    with torch.no_grad():
        yield


def assert_equal(found, expected):
    expected = expected if isinstance(expected, torch.Tensor) else expected.pooler_output
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def padded(tokens: torch.Tensor, end: int) -> torch.Tensor:
    """Padding with the end token, as transformers pads CLIP; causal towers never see it."""
    return tokens.masked_fill(tokens == 0, end)


@pytest.mark.layout("transformers' CLIPModel")
@pytest.mark.parametrize("positions", [77, 248])
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_transformers_clip_of_any_size(tmp_path, positions, activation):
    """TinyCLIP, Long-CLIP: sizes and heads that no architecture of open_clip has, without arch."""
    config = transformers.CLIPConfig(
        text_config={**TOWER, "hidden_act": activation, "max_position_embeddings": positions},
        vision_config={**TOWER, "hidden_act": activation, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    reference = jitter(transformers.CLIPModel(config).eval())
    reference.save_pretrained(tmp_path)
    write_json(tmp_path / "preprocessor_config.json", {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]})
    clip = load_clip(None, tmp_path)
    tokens = clip.text.tokenize(WORDS)
    assert tokens.shape == (2, positions)
    assert_equal(clip.backbone.encode_pooled(IMAGES), reference.get_image_features(pixel_values=IMAGES))
    assert_equal(clip.text.encode_tokens(tokens), reference.get_text_features(input_ids=padded(tokens, 49407)))
    assert clip.preprocess.mean == (0.1, 0.2, 0.3)
    assert clip.log_scale == pytest.approx(float(reference.logit_scale))


@pytest.mark.layout("transformers' CLIPModel")
def test_weights_renamed_beside_their_config(tmp_path):
    reference = _tiny_transformers_clip()
    reference.config.save_pretrained(tmp_path)
    torch.save(reference.state_dict(), tmp_path / "my_clip.bin")
    for weights in (tmp_path, tmp_path / "my_clip.bin"):
        clip = load_clip(None, weights)
        assert_equal(clip.backbone.encode_pooled(IMAGES), reference.get_image_features(pixel_values=IMAGES))


def _tiny_transformers_clip() -> nn.Module:
    config = transformers.CLIPConfig(
        text_config=TOWER, vision_config={**TOWER, "image_size": 32, "patch_size": 8}, projection_dim=24
    )
    return jitter(transformers.CLIPModel(config).eval())


def test_transformers_without_config_is_refused(tmp_path):
    torch.save(_tiny_transformers_clip().state_dict(), tmp_path / "clip.bin")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_clip(None, tmp_path / "clip.bin")
    write_json(tmp_path / "config.json", {})
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(CheckpointError, match=r"config\.json.* is no JSON"):
        load_clip(None, tmp_path / "clip.bin")


@pytest.mark.layout("transformers' CLIPModel")
def test_fg_clip(tmp_path):
    """Prompts of 77 tokens pass through CLIP's own parts."""
    reference = _tiny_transformers_clip()
    reference.config.save_pretrained(tmp_path)
    extra = {f"text_model.embeddings.position_embedding_{part}.weight": torch.randn(248, 32) for part in ("res", "ori")}
    extra |= {"text_filip_projection.weight": torch.randn(24, 32), "logit_scale_hardneg": torch.tensor(3.0)}
    extra["logit_scale_finegraind"] = torch.tensor(3.0)
    save_file({**reference.state_dict(), **extra}, tmp_path / "model.safetensors")
    clip = load_clip(None, tmp_path)
    tokens = clip.text.tokenize(WORDS)
    assert_equal(clip.backbone.encode_pooled(IMAGES), reference.get_image_features(pixel_values=IMAGES))
    assert_equal(clip.text.encode_tokens(tokens), reference.get_text_features(input_ids=padded(tokens, 49407)))


@pytest.mark.layout("RegionCLIP")
def test_region_clip(tmp_path, monkeypatch):
    """Two copies of the image tower, teacher's and student's, and a text tower, as detectron2 names them."""
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT_CFG}
    write_json(tmp_path / "rn.json", config)
    monkeypatch.setattr(open_clip, "list_models", lambda: [str(tmp_path / "rn.json")])
    reference = _model(config, quick_gelu=True)
    state = {"teacher_backbone.conv1.weight": torch.zeros(4, 3, 3, 3), "roi_heads.box.weight": torch.zeros(2)}
    for name, value in reference.state_dict().items():
        if name.startswith("visual."):
            state[name.replace("visual.", "backbone.")] = value
        elif name != "logit_scale":
            state[f"lang_encoder.{name}"] = value
    torch.save({"model": state}, tmp_path / "regionclip.pth")
    clip = load_clip(None, tmp_path / "regionclip.pth")
    images = torch.randn(1, 3, 64, 64)
    tokens = clip.text.tokenize(WORDS)
    assert_equal(clip.backbone.encode_pooled(images), reference.encode_image(images))
    assert_equal(clip.text.encode_tokens(tokens), reference.encode_text(tokens))
    torch.save({"model": {k: v for k, v in state.items() if "lang" not in k}}, tmp_path / "detector.pth")
    with pytest.raises(CheckpointError, match="no text tower"):
        load_clip(None, tmp_path / "detector.pth")


@pytest.mark.layout("transformers' CLIPModel")
def test_metaclip_2(tmp_path):
    config = transformers.MetaClip2Config(
        text_config={**TOWER, "vocab_size": 120, "eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1},
        vision_config={**TOWER, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    reference = jitter(transformers.MetaClip2Model(config).eval())
    reference.save_pretrained(tmp_path)
    with pytest.raises(MissingWeightsError, match=r"tokenizer.*facebook/xlm-v-base"):
        load_clip(None, tmp_path)
    save_tokenizer(tmp_path, 120, end=2, pad=1)
    clip = load_clip(None, tmp_path)
    tokens = clip.text.tokenize(WORDS)
    assert_equal(clip.backbone.encode_pooled(IMAGES), reference.get_image_features(pixel_values=IMAGES))
    assert_equal(clip.text.encode_tokens(tokens), reference.get_text_features(input_ids=tokens))


@pytest.mark.layout("transformers' SiglipModel")
@pytest.mark.parametrize("activation", ["gelu_pytorch_tanh", "gelu"])
def test_transformers_siglip(tmp_path, activation):
    vision = {**TOWER, "hidden_act": activation, "image_size": 32, "patch_size": 8}
    config = transformers.SiglipConfig(
        text_config={**TOWER, "vocab_size": 120, "max_position_embeddings": 16, "projection_size": 32},
        vision_config=vision,
    )
    reference = jitter(transformers.SiglipModel(config).eval())
    _assert_siglip(tmp_path, reference, reference.get_image_features(pixel_values=IMAGES))


@pytest.mark.layout("transformers' SiglipModel")
def test_transformers_siglip_2_of_flexible_resolution(tmp_path):
    config = transformers.Siglip2Config(
        text_config={**TOWER, "vocab_size": 120, "max_position_embeddings": 16, "projection_size": 32},
        vision_config={**TOWER, "num_patches": 16, "patch_size": 8},
    )
    reference = jitter(transformers.Siglip2Model(config).eval())
    patches = IMAGES.unflatten(2, (4, 8)).unflatten(4, (4, 8)).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    shapes = torch.tensor([[4, 4], [4, 4]])
    mask = torch.ones(2, 16, dtype=torch.long)
    reference.longtext_head = nn.Linear(32, 32)  # FG-CLIP 2
    expected = reference.get_image_features(pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes)
    _assert_siglip(tmp_path, reference, expected)


def _assert_siglip(folder, reference, expected_image):
    reference.save_pretrained(folder)
    save_tokenizer(folder, 120, end=1, pad=2)
    clip = load_clip(None, folder)
    tokens = clip.text.tokenize(WORDS)
    assert_equal(clip.backbone.encode_pooled(IMAGES), expected_image)
    assert_equal(clip.text.encode_tokens(tokens), reference.get_text_features(input_ids=tokens))
    assert clip.log_scale == pytest.approx(float(reference.logit_scale))
    assert clip.logit_bias == pytest.approx(float(reference.logit_bias))
    assert clip.preprocess.mean == (0.5, 0.5, 0.5)


@pytest.mark.layout("big_vision's SigLIP")
@pytest.mark.layout("big_vision's SigLIP without its outer table")
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("root", ["params/", ""])
def test_big_vision_siglip(tmp_path, stacked, root):
    """Arrays as flax names them, written from open_clip's class; equal to open_clip's own converter."""
    arrays = _flax_arrays(stacked)
    np.savez(tmp_path / "webli.npz", **{root + name: value for name, value in arrays.items()})
    save_tokenizer(tmp_path, 120, end=1, pad=2)
    clip = load_clip(None, tmp_path / "webli.npz")
    reference = copy.deepcopy(_siglip_class())
    open_clip.convert.load_big_vision_weights(reference, tmp_path / "webli.npz")
    tokens = clip.text.tokenize(WORDS)
    assert_equal(clip.backbone.encode_pooled(IMAGES), reference.encode_image(IMAGES))
    assert_equal(clip.text.encode_tokens(tokens), reference.encode_text(tokens))
    assert clip.logit_bias == pytest.approx(-9.5)


def _siglip_class() -> nn.Module:
    from ovperc.weights.architectures import build_model

    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "mlp_ratio": 3.0}
    sizes.update(class_token=False, global_pool="map", act_layer="gelu_tanh")
    text = {"context_length": 16, "vocab_size": 120, "width": 32, "heads": 4, "layers": 2, "mlp_ratio": 3.0}
    text.update(no_causal_mask=True, proj_bias=True, pool_type="last", norm_kwargs={"eps": 1e-6})
    text.update(act_kwargs={"approximate": "tanh"})
    config = {"embed_dim": 32, "init_logit_bias": -10, "custom_text": True, "text_cfg": text}
    return build_model({**config, "vision_cfg": {"image_size": 32, "timm_settings": sizes}})


def _flax_arrays(stacked: bool) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray:
        return (draw.standard_normal(shape) * 0.3).astype(np.float32)

    def attention(prefix: str, lead: tuple[int, ...]) -> dict[str, np.ndarray]:
        parts = {f"{prefix}{part}/kernel": array(*lead, 32, 4, 8) for part in ("query", "key", "value")}
        parts |= {f"{prefix}{part}/bias": array(*lead, 4, 8) for part in ("query", "key", "value")}
        return {**parts, f"{prefix}out/kernel": array(*lead, 4, 8, 32), f"{prefix}out/bias": array(*lead, 32)}

    def norm(prefix: str, lead: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
        return {f"{prefix}scale": 1 + array(*lead, 32), f"{prefix}bias": array(*lead, 32)}

    def mlp(prefix: str, lead: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
        first = {f"{prefix}Dense_0/kernel": array(*lead, 32, 96), f"{prefix}Dense_0/bias": array(*lead, 96)}
        return {**first, f"{prefix}Dense_1/kernel": array(*lead, 96, 32), f"{prefix}Dense_1/bias": array(*lead, 32)}

    def blocks(prefix: str) -> dict[str, np.ndarray]:
        names = [f"{prefix}encoderblock/"] if stacked else [f"{prefix}encoderblock_{index}/" for index in range(2)]
        found = {}
        for name in names:
            lead = (2,) if stacked else ()
            found |= attention(f"{name}MultiHeadDotProductAttention_0/", lead) | norm(f"{name}LayerNorm_0/", lead)
            found |= norm(f"{name}LayerNorm_1/", lead) | mlp(f"{name}MlpBlock_0/", lead)
        return found

    image = {"img/embedding/kernel": array(8, 8, 3, 32), "img/embedding/bias": array(32)}
    image |= {"img/pos_embedding": array(1, 16, 32), "img/MAPHead_0/probe": array(1, 1, 32)}
    image |= blocks("img/Transformer/") | norm("img/Transformer/encoder_norm/")
    image |= attention("img/MAPHead_0/MultiHeadDotProductAttention_0/", ())
    image |= norm("img/MAPHead_0/LayerNorm_0/") | mlp("img/MAPHead_0/MlpBlock_0/")
    text = {"txt/Embed_0/embedding": array(120, 32), "txt/pos_embedding": array(1, 16, 32)}
    text |= blocks("txt/Encoder_0/") | norm("txt/Encoder_0/encoder_norm/")
    text |= {"txt/head/kernel": array(32, 32), "txt/head/bias": array(32)}
    return {**image, **text, "b": np.float32([-9.5]), "t": np.float32([2.0])}


def _model(config, *, quick_gelu=False, custom=False) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config, quick_gelu=quick_gelu)
        scramble(model)
    return model.eval()


@pytest.mark.layout("Long-CLIP")
def test_long_clip(tmp_path):
    """Two tables of 248 rows, the first for 20 positions, the second for the rest; QuickGELU as OpenAI's."""
    config = {**PLAIN, "text_cfg": {**PLAIN["text_cfg"], "context_length": 248}}
    reference = _model(config, quick_gelu=True)
    state = dict(reference.state_dict())
    table, other = state["positional_embedding"], torch.randn(248, 64)
    state["positional_embedding"] = torch.cat([table[:20], other[20:]])
    state["positional_embedding_res"] = torch.cat([other[:20], table[20:]])
    torch.save(state, tmp_path / "longclip-B.pt")
    clip = load_clip(None, tmp_path / "longclip-B.pt")
    tokens = clip.text.tokenize(["a red star on grass " * 20, "grass"])
    assert tokens.shape == (2, 248)
    assert_equal(clip.text.encode_tokens(tokens), reference.encode_text(tokens))
    assert_equal(clip.backbone.encode_pooled(IMAGES), reference.encode_image(IMAGES))


@pytest.mark.layout("OpenCLIP")
def test_clipa(tmp_path):
    """Average pooling, no causal mask, the last token: a text tower without any mask."""
    vision = {**PLAIN["vision_cfg"], "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}
    text = {**PLAIN["text_cfg"], "context_length": 32, "vocab_size": 120, "pool_type": "last", "no_causal_mask": True}
    text.update(hf_tokenizer_name="bert-base-uncased")
    reference = _model({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text})
    save_file(
        {name: value.contiguous() for name, value in reference.state_dict().items()}, tmp_path / "clipa.safetensors"
    )
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    write_json(tmp_path / "open_clip_config.json", config)
    save_tokenizer(tmp_path, 120, end=2)
    clip = load_clip(None, tmp_path)
    tokens = clip.text.tokenize(WORDS)
    assert_equal(clip.text.encode_tokens(tokens), reference.encode_text(tokens))
    assert_equal(clip.backbone.encode_pooled(IMAGES), reference.encode_image(IMAGES))


@pytest.mark.layout("OpenCLIP")
def test_biomedclip(tmp_path):
    """A text tower of transformers: its config and tokenizer come from a repository; the context is the config's."""
    bert = transformers.BertConfig(
        vocab_size=120, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    text = {"hf_model_name": "lab/TextTower", "hf_tokenizer_name": "lab/TextTower", "hf_proj_type": "mlp"}
    text.update(hf_pooler_type="cls_last_hidden_state_pooler", context_length=48)
    model_cfg = {"embed_dim": 24, "vision_cfg": PLAIN["vision_cfg"], "text_cfg": text}
    weights = tmp_path / "weights"
    weights.mkdir()
    write_json(weights / "open_clip_config.json", {"model_cfg": model_cfg, "preprocess_cfg": {}})
    local = tmp_path / "home" / "weights" / "lab" / "TextTower"
    local.mkdir(parents=True)
    bert.save_pretrained(local)
    save_tokenizer(local, 120, end=2)
    here = copy.deepcopy(model_cfg)
    here["text_cfg"].update(hf_model_name=str(local), hf_model_pretrained=False)
    reference = jitter(open_clip.CustomTextCLIP(**here).eval())
    state = {name: value.contiguous() for name, value in reference.state_dict().items()}
    torch.save({**state, "text.transformer.embeddings.position_ids": torch.arange(64)[None]}, weights / "w.bin")
    clip = load_clip(None, weights)
    tokens = clip.text.tokenize(WORDS)
    assert tokens.shape == (2, 48) and clip.text.context_length == 48
    assert_equal(clip.text.encode_tokens(tokens), reference.encode_text(tokens))
    assert_equal(clip.backbone.encode_pooled(IMAGES), reference.encode_image(IMAGES))
    with pytest.raises(ValueError, match=r"needs 52 tokens .*reads 48"):
        clip.text.tokenize(["star " * 50])
    (local / "config.json").unlink()
    with pytest.raises(MissingWeightsError, match="lab/TextTower"):
        load_clip(None, weights)


@pytest.mark.layout("EVA-CLIP")
def test_eva_clip_without_arch(tmp_path, monkeypatch):
    """EVA-CLIP's own names (and CLIPSelf's, DeCLIP's); the architecture whose tensors have these shapes."""
    config = {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {"image_size": 224, "timm_model_name": "eva02_tiny_patch14_224", "timm_pool": "token",
                       "timm_proj": None},
        "text_cfg": TEXT_CFG,
    }  # fmt: skip
    arch = tmp_path / "eva.json"
    write_json(arch, config)
    other = json.loads(arch.read_text())
    other["vision_cfg"]["timm_model_name"] = "eva02_small_patch14_224"
    write_json(tmp_path / "other.json", other)
    monkeypatch.setattr(open_clip, "list_models", lambda: [str(tmp_path / "other.json"), str(arch)])
    reference = jitter(open_clip.CustomTextCLIP(**{key: config[key] for key in config if key != "custom_text"}).eval())
    state = {}
    for name, value in reference.state_dict().items():
        name = name.replace("visual.trunk.", "visual.")
        for new, old in ((".mlp.norm.", ".mlp.ffn_ln."), (".fc1_g.", ".w1."), (".fc1_x.", ".w2.")):
            name = name.replace(new, old)
        state[name.replace(".mlp.fc2.", ".mlp.w3.") if "visual." in name else name] = value
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "eva.pt")
    clip = load_clip(None, tmp_path / "eva.pt")
    assert clip.arch == str(arch)
    images = torch.randn(1, 3, 224, 224)
    tokens = clip.text.tokenize(WORDS)
    assert_equal(clip.backbone.encode_pooled(images), reference.encode_image(images))
    assert_equal(clip.text.encode_tokens(tokens), reference.encode_text(tokens))
