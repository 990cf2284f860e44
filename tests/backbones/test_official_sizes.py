"""ViT-B/16 in every official layout, with synthesized weights; a minute and 2 GB, so only with ``-m slow``."""

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from helpers.checkpoint_files import save_openai_archive
from ovperc.backbones.loading import load_clip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _only_when_asked(request):
    if "slow" not in request.config.getoption("markexpr"):
        pytest.skip("run with -m slow")


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return open_clip.create_model("ViT-B-16-quickgelu", pretrained=None).eval().half().float()


def _assert_same(clip, model):
    assert clip.arch == "ViT-B-16-quickgelu"
    images = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(clip.backbone.encode_pooled(images), model.encode_image(images), rtol=1e-4, atol=1e-4)
    tokens = clip.text.tokenize(["a red star on grass"])
    torch.testing.assert_close(clip.text.encode_tokens(tokens), model.encode_text(tokens), rtol=1e-4, atol=1e-4)


def test_openai_archive(tmp_path, model):
    save_openai_archive(model, tmp_path / "anything.pt")
    _assert_same(load_clip(None, tmp_path / "anything.pt"), model)


def test_catalogue_name_finds_the_file_in_ovperc_home(tmp_path, model, monkeypatch):
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path))
    (tmp_path / "weights").mkdir()
    save_openai_archive(model, tmp_path / "weights" / "ViT-B-16.pt")
    for arch, weights in ((None, "ViT-B-16/openai"), ("ViT-B-16", "openai"), ("ViT-B-16-quickgelu", "openai")):
        clip = load_clip(arch, weights)
        assert clip.source == "ViT-B-16/openai"
    _assert_same(clip, model)


@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_openclip(tmp_path, model, form):
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    path = tmp_path / f"epoch_32.{form}"
    if form == "pt":
        torch.save({"epoch": 32, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    else:
        save_file(state, path)
    _assert_same(load_clip("ViT-B-16-quickgelu", path), model)


def test_hugging_face(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPConfig(vision_config={"patch_size": 16}, text_config={"eos_token_id": 49407})
    reference = transformers.CLIPModel(config).eval()
    reference.save_pretrained(tmp_path)
    clip = load_clip(None, tmp_path)
    assert clip.arch == "ViT-B-16-quickgelu"
    images = torch.randn(1, 3, 224, 224)
    expected = reference.get_image_features(pixel_values=images)
    expected = expected if isinstance(expected, torch.Tensor) else expected.pooler_output
    torch.testing.assert_close(clip.backbone.encode_pooled(images), expected, rtol=1e-4, atol=1e-4)
