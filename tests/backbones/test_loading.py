"""Every official layout gives the features of the model it was written from; wrong files are named."""

import json

import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import nn

from helpers.checkpoint_files import save_openai_archive
from helpers.tiny_models import KINDS, TEXT_CFG, native_px, scramble, tiny_clip
from ovperc.backbones.loading import load_clip, text_fingerprint
from ovperc.backbones.mini_archs import build_clip_mini, save_packed
from ovperc.weights.architectures import build_model, check_activation, infer_arch
from ovperc.weights.errors import MissingWeightsError
from ovperc.weights.reading import CheckpointError

CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": TEXT_CFG,
}
RESNET = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
    "text_cfg": TEXT_CFG,
}
WORDS = ["a red star", "grass"]


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OVPERC_OFFLINE", "1")
    with torch.no_grad():
        yield


def _arch(tmp_path, config, quick_gelu=False) -> str:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps({**config, "quick_gelu": quick_gelu}))
    return str(path)


def _model(config=CONFIG, quick_gelu=False, seed=0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(**config, quick_gelu=quick_gelu)
        scramble(model)
    return model.eval()


def _half(model: nn.Module) -> nn.Module:
    """Weights rounded to half precision and back, as OpenAI's archives store them."""
    return model.half().float()


def _assert_same_features(clip, model, tolerance=1e-5):
    size = clip.preprocess.image_size_px
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(clip.backbone.encode_pooled(images), model.encode_image(images), rtol=0, atol=tolerance)
    tokens = clip.text.tokenize(WORDS)
    torch.testing.assert_close(clip.text.encode_tokens(tokens), model.encode_text(tokens), rtol=0, atol=tolerance)


@pytest.mark.layout("OpenAI's CLIP archive")
@pytest.mark.parametrize("config", [CONFIG, RESNET], ids=["vit", "resnet"])
def test_openai_archive(tmp_path, config):
    """Always QuickGELU, though the config that is asked for says GELU."""
    model = _half(_model(config, quick_gelu=True))
    save_openai_archive(model, tmp_path / "ViT.pt")
    clip = load_clip(_arch(tmp_path, config), tmp_path / "ViT.pt")
    _assert_same_features(clip, model)
    assert clip.source == str(tmp_path / "ViT.pt")
    assert clip.preprocess.mean == open_clip.OPENAI_DATASET_MEAN
    assert clip.backbone.dtype == torch.float32


@pytest.mark.layout("OpenCLIP")
@pytest.mark.parametrize("form", ["plain", "training", "safetensors", "text-prefix"])
def test_openclip_files(tmp_path, form):
    model = _model()
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    path = tmp_path / f"weights.{'safetensors' if form == 'safetensors' else 'pt'}"
    if form == "safetensors":
        save_file(state, path)
    elif form == "training":
        torch.save({"epoch": 2, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    elif form == "text-prefix":
        image = ("visual.", "logit_scale")
        torch.save({name if name.startswith(image) else f"text.{name}": value for name, value in state.items()}, path)
    else:
        torch.save(state, path)
    _assert_same_features(load_clip(_arch(tmp_path, CONFIG), path), model)


@pytest.mark.layout("OpenCLIP")
def test_custom_text_model_from_plain_keys(tmp_path):
    model = _model()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    arch = _arch(tmp_path, {**CONFIG, "custom_text": True})
    _assert_same_features(load_clip(arch, tmp_path / "weights.pt"), model)


@pytest.mark.layout("transformers' CLIPModel")
@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_hugging_face(tmp_path, form, activation):
    transformers = pytest.importorskip("transformers")
    tower = {"intermediate_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**tower, "hidden_act": activation, "vocab_size": 49408, "eos_token_id": 49407},
        vision_config={**tower, "hidden_act": activation, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    reference = transformers.CLIPModel(config).eval()
    for value in reference.parameters():
        value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())) * 0.2)
    folder = tmp_path / "clip"
    if form == "safetensors":
        reference.save_pretrained(folder)
    else:
        config.save_pretrained(folder)
        torch.save(reference.state_dict(), folder / "pytorch_model.bin")
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]}')
    clip = load_clip(_arch(tmp_path, CONFIG, quick_gelu=activation == "quick_gelu"), folder)
    images = torch.randn(2, 3, 32, 32)
    tokens = clip.text.tokenize(WORDS)
    # Padding as Hugging Face pads: with the end token. Causal towers never see it.
    padded = tokens.masked_fill(tokens == 0, 49407)
    expected_image = _tensor(reference.get_image_features(pixel_values=images))
    expected_text = _tensor(reference.get_text_features(input_ids=padded))
    torch.testing.assert_close(clip.backbone.encode_pooled(images), expected_image, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(clip.text.encode_tokens(tokens), expected_text, rtol=1e-4, atol=1e-4)
    assert clip.preprocess.mean == (0.1, 0.2, 0.3)


def _tensor(answer) -> torch.Tensor:
    return answer if isinstance(answer, torch.Tensor) else answer.pooler_output


def test_activation_is_never_guessed(tmp_path, monkeypatch):
    """Neither by default nor by the file's name: GELU and QuickGELU differ by a hundredth of the features."""
    arch = _arch(tmp_path, CONFIG)
    monkeypatch.setattr(open_clip, "list_models", lambda: [arch])
    for name in ("fine_tuned.pt", "ViT-B-16.pt", "openai-quickgelu.pt"):
        torch.save(_model().state_dict(), tmp_path / name)
        with pytest.raises(CheckpointError, match=r"does not tell its activation. Pass arch=.* GELU .*QuickGELU"):
            load_clip(None, tmp_path / name)
    _assert_same_features(load_clip(arch, tmp_path / "fine_tuned.pt"), _model())


def _meta_state(arch: str) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return open_clip.CLIP(**open_clip.get_model_config(arch)).state_dict()


@pytest.mark.parametrize(
    ("arch", "plain"),
    [
        ("ViT-B-16", "ViT-B-16"),
        ("ViT-B-32-quickgelu", "ViT-B-32"),
        ("ViT-L-14-336", "ViT-L-14-336"),
        ("ViT-H-14", "ViT-H-14"),
        ("RN50-quickgelu", "RN50"),
        ("RN101", "RN101"),
        ("RN50x4", "RN50x4"),
    ],
)
def test_arch_from_shapes(arch, plain):
    assert infer_arch(_meta_state(arch)) == plain


def test_arch_from_shapes_that_none_has(tmp_path):
    torch.save(_model().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"width 32, layers 2.*pass arch.*config\.json"):
        load_clip(None, tmp_path / "weights.pt")
    torch.save({"visual.trunk.x": torch.zeros(1)}, tmp_path / "other-quickgelu.pt")
    with pytest.raises(CheckpointError, match=r"not a dual encoder.*visual\.trunk\.x"):
        load_clip(None, tmp_path / "other-quickgelu.pt")


def test_wrong_checkpoint_names_keys(tmp_path):
    state = _model().state_dict()
    torch.save(state, tmp_path / "weights.pt")
    deeper = {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "layers": 3, "image_size": 48}}
    with pytest.raises(CheckpointError) as error:
        load_clip(_arch(tmp_path, deeper), tmp_path / "weights.pt")
    text = str(error.value)
    assert "12 keys missing, the first is visual.transformer.resblocks.2.ln_1.weight" in text
    assert "visual.positional_embedding: (17, 32) in the file, (37, 32) in the model" in text
    state["visual.extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"1 keys unexpected, the first is visual\.extra"):
        load_clip(_arch(tmp_path, CONFIG), tmp_path / "weights.pt")


def test_wrong_activation_raises(tmp_path):
    """A tag whose weights were trained with GELU, and an arch that asks for QuickGELU."""
    model = build_model({**CONFIG, "quick_gelu": True})
    with pytest.raises(ValueError, match=r"trained with GELU.*built with QuickGELU; use arch='ViT-B-16'"):
        check_activation(model, False, "ViT-B-16-quickgelu", "ViT-B-16/laion2b_s34b_b88k")
    check_activation(model, True, "ViT-B-16-quickgelu", "ViT-B-16/openai")
    with pytest.raises(ValueError, match=r"use arch='ViT-B-16-quickgelu'"):
        check_activation(build_model(CONFIG), True, "ViT-B-16", "ViT-B-16/openai")


def test_random_weights_are_seeded_and_leave_the_generator_alone(tmp_path):
    arch = _arch(tmp_path, CONFIG)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second = load_clip(arch, "random"), load_clip(arch, "random", pos_embed="scale")
    assert torch.equal(torch.rand(1), expected)
    assert first.fingerprint == second.fingerprint
    assert first.source == "random weights" and second.backbone.pos_embed == "scale"
    assert load_clip(arch, "random", dtype=torch.bfloat16).fingerprint == first.fingerprint


def test_fingerprint_follows_text_weights():
    fingerprints = {tiny_clip("vit", seed).fingerprint for seed in (0, 1)}
    assert len(fingerprints) == 2
    tokenizer = SimpleTokenizer(context_length=40)
    text = tiny_clip("vit", 0).text
    text.tokenizer = tokenizer
    assert text_fingerprint(text) not in fingerprints


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_wraps(kind):
    clip = tiny_clip(kind)
    assert clip.text.embed_dim == clip.backbone.embed_dim
    assert clip.preprocess.image_size_px == native_px(kind)
    assert not clip.backbone.training


def test_names_that_do_not_exist(tmp_path):
    with pytest.raises(ValueError, match=r"did you mean.*'ViT-B-16/openai'"):
        load_clip(None, "ViT-B-16/opnai")
    with pytest.raises(ValueError, match=r"unknown arch 'ViT-B-61'; did you mean.*'ViT-B-16'"):
        load_clip("ViT-B-61", "random")
    with pytest.raises(ValueError, match=r"did you mean 'openai'"):
        load_clip("ViT-B-16", "opneai")
    with pytest.raises(ValueError, match=r"are of arch 'ViT-B-16', not of 'ViT-L-14'"):
        load_clip("ViT-L-14", "ViT-B-16/openai")
    with pytest.raises(ValueError, match=r"'ViT-B-16' needs weights: one of the tags openai"):
        load_clip("ViT-B-16", None)
    with pytest.raises(ValueError, match="random weights need an arch"):
        load_clip(None, "random")
    with pytest.raises(FileNotFoundError, match=r"no weights file nowhere/w\.pt"):
        load_clip("ViT-B-16", "nowhere/w.pt")
    with pytest.raises(ValueError, match="unknown pos_embed mode"):
        load_clip(_arch(tmp_path, CONFIG), "random", pos_embed="bicubic")
    with pytest.raises(FileNotFoundError, match="holds none of open_clip_model"):
        load_clip("ViT-B-16", tmp_path)


@pytest.mark.parametrize(
    ("arch", "weights", "url"),
    [
        ("ViT-B-16", "openai", "https://openaipublic.azureedge.net/clip/models/5806"),
        ("ViT-B-16-SigLIP", "webli", "https://huggingface.co/timm/ViT-B-16-SigLIP"),
        ("RN50", "yfcc15m", "https://github.com/mlfoundations/open_clip/releases"),
        ("hf-hub:someone/some-clip", None, "https://huggingface.co/someone/some-clip"),
    ],
)
def test_missing_weights_say_where_from_and_where_to(arch, weights, url, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MissingWeightsError) as error:
        load_clip(arch, weights)
    assert url in str(error.value)
    assert str(tmp_path / "home") in str(error.value) or "pass the folder" in str(error.value)


def test_clip_mini_without_weights_is_explicit():
    clip = load_clip("clip-mini", "random")
    assert (clip.arch, clip.source) == ("clip-mini", "random weights")
    images = torch.randn(1, 3, 64, 90)
    features = clip.backbone.forward_dense(images, ["-1.out"])
    pooled = clip.backbone.project(features["-1.out"]).mean(dim=1)
    torch.testing.assert_close(pooled, clip.backbone.encode_pooled(images), rtol=1e-4, atol=1e-5)


def test_clip_mini_packed_file(tmp_path):
    model = build_clip_mini(None)
    scramble(model)
    tokens = SimpleTokenizer()(["red star"])
    path = tmp_path / "mini.safetensors"
    save_packed(path, model.state_dict(), tokens.unique(), seed=0, command="", dtype=torch.float32)
    clip = load_clip("clip-mini", path)
    torch.testing.assert_close(clip.text.encode_tokens(tokens), model.encode_text(tokens), rtol=1e-5, atol=1e-5)
    images = torch.randn(1, 3, 112, 112)
    torch.testing.assert_close(clip.backbone.encode_pooled(images), model.encode_image(images), rtol=1e-4, atol=1e-4)
