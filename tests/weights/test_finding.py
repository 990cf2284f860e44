"""Weights are found wherever other libraries left them, and fetched into a folder that works without a network."""

import shutil

import huggingface_hub
import pytest
import torch

from helpers.hub_folders import cache_repository, save_tokenizer, write_json
from helpers.tiny_models import jitter
from ovperc.backbones.loading import load_clip
from ovperc.weights import caches
from ovperc.weights.catalogue import CATALOGUE, get_entry, local_file
from ovperc.weights.errors import MissingWeightsError
from ovperc.weights.fetching import fetch_weights, find_fetchable
from ovperc.weights.locate import from_hub, locate, locate_tower, unknown_weights

VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "TORCH_HOME")


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OVPERC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OVPERC_OFFLINE", "1")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def _files(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("variable", "inside"),
    [
        (None, ".cache/huggingface/hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
        ("HF_HOME", "hub"),
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
    ],
)
def test_hub_cache_follows_its_variables(tmp_path, monkeypatch, variable, inside):
    root = tmp_path if variable is None else tmp_path / "moved"
    if variable:
        monkeypatch.setenv(variable, str(root))
    files = _files(tmp_path / "files", "open_clip_model.safetensors")
    snapshot = cache_repository(root / inside, "timm/vit_base_patch16_clip_224.openai", files)
    assert local_file(get_entry("ViT-B-16/openai")) == snapshot / "open_clip_model.safetensors"
    assert locate(None, "ViT-B-16/openai").path == snapshot / "open_clip_model.safetensors"


def test_every_row_is_found_in_the_hub_cache(tmp_path):
    files = _files(tmp_path / "files", "model.safetensors")
    cache = caches.hub_cache()
    for repo in {repo for entry in CATALOGUE for repo in entry.hubs}:
        cache_repository(cache, repo, files)
    for entry in CATALOGUE:
        assert local_file(entry) is not None or not (entry.hubs or entry.shipped), entry.name


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("clip-dinoiser", "home/weights/last.pt"),
        ("anomalyclip-visa", "home/epoch_15.pth"),
        ("sam-vit-b", "home/weights/sam_vit_b_01ec64.pth"),
        ("ViT-B-16/laion2b_s34b_b88k", "home/weights/CLIP-ViT-B-16-laion2B-s34B-b88K.bin"),
        (
            "ViT-B-16/laion2b_s34b_b88k",
            "home/weights/laion/CLIP-ViT-B-16-laion2B-s34B-b88K/open_clip_model.safetensors",
        ),
        ("ViT-B-16/laion2b_s34b_b88k", "home/CLIP-ViT-B-16-laion2B-s34B-b88K/open_clip_pytorch_model.bin"),
        ("dino-vitb8", ".cache/torch/hub/checkpoints/dino_vitbase8_pretrain.pth"),
        ("ViT-B-32/openai", ".cache/clip/ViT-B-32.pt"),
    ],
)
def test_files_under_their_publishers_names(tmp_path, name, place):
    _files((tmp_path / place).parent, (tmp_path / place).name)
    assert local_file(get_entry(name)) == tmp_path / place


def test_torch_home(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    place = _files(tmp_path / "torch" / "hub" / "checkpoints", "dinov2_vits14_pretrain.pth")
    assert local_file(get_entry("dinov2-vits14")) == place / "dinov2_vits14_pretrain.pth"
    assert locate_tower("vit_small_patch14_dinov2.lvd142m", "vision").path == place / "dinov2_vits14_pretrain.pth"
    assert locate_tower("dinov2_vits14_pretrain.pth", "vision").path == place / "dinov2_vits14_pretrain.pth"


@pytest.mark.parametrize("variable", ["OVPERC_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_variables(monkeypatch, variable):
    monkeypatch.delenv("OVPERC_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert not caches.offline()
    monkeypatch.setenv(variable, "1")
    assert caches.offline()


@pytest.mark.parametrize(
    ("repo", "quick_gelu", "mean"),
    [
        ("apple/DFN2B-CLIP-ViT-B-16", True, 0.48145466),
        ("timm/vit_base_patch16_clip_224.metaclip_2pt5b", True, 0.48145466),
        ("laion/CLIP-ViT-L-14-laion2B-s32B-b82K", False, 0.5),
    ],
)
def test_cached_weights_without_side_files_take_open_clips_row(tmp_path, repo, quick_gelu, mean):
    cache_repository(caches.hub_cache(), repo, _files(tmp_path / "files", "open_clip_model.safetensors"))
    source = from_hub(f"hf-hub:{repo}", None)
    assert source.quick_gelu == quick_gelu and source.preprocess["mean"][0] == mean
    assert source.arch is not None and source.label == f"hf-hub:{repo}"


def test_publishers_file_name_tells_the_row(tmp_path):
    place = _files(tmp_path / "drive", "b16_fullcc2.5b.pt", "ViT-B-16.pt")
    source = locate(None, place / "b16_fullcc2.5b.pt")
    assert (source.arch, source.quick_gelu) == ("ViT-B-16", True)
    assert locate(None, place / "ViT-B-16.pt").arch is None


def test_names_that_nearly_fit():
    assert "written 'hf-hub:google/siglip-base-patch16-224'" in str(
        unknown_weights("google/siglip-base-patch16-224", "clip")
    )
    with pytest.raises(ValueError, match="'dino-vitb8' is an image tower without words, where a dual encoder"):
        load_clip(None, "dino-vitb8")
    with pytest.raises(MissingWeightsError, match=r"dinov3-vits16 .*\n.*timm/vit_small_patch16_dinov3"):
        locate_tower("dinov3-vits16", "vision")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of one repository, served from a folder."""
    transformers = pytest.importorskip("transformers")
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**tower, "vocab_size": 60, "max_position_embeddings": 8, "projection_size": 32}
    config = transformers.SiglipConfig(text_config=text, vision_config={**tower, "image_size": 16, "patch_size": 8})
    folder = tmp_path / "served"
    jitter(transformers.SiglipModel(config)).save_pretrained(folder)
    save_tokenizer(folder, 60, end=1, pad=2)
    write_json(folder / "unrelated.json", {})

    def download(repo, name, cache_dir=None, local_dir=None):
        assert repo == "lab/siglip"
        target = (local_dir or cache_dir) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return shutil.copy(folder / name, target)

    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda repo: [path.name for path in folder.iterdir()])
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return folder


def test_fetched_folder_loads_by_the_same_name_without_a_network(tmp_path, monkeypatch, hub):
    with pytest.raises(MissingWeightsError, match="switched off"):
        load_clip(None, "hf-hub:lab/siglip")
    monkeypatch.setenv("OVPERC_OFFLINE", "0")
    fetched = fetch_weights(find_fetchable("hf-hub:lab/siglip"), tmp_path / "stick")
    assert fetched.path == tmp_path / "stick" / "lab" / "siglip" / "model.safetensors"
    assert not (fetched.path.parent / "unrelated.json").exists()
    monkeypatch.setenv("OVPERC_OFFLINE", "1")
    shutil.copytree(tmp_path / "stick", tmp_path / "home" / "weights")
    clip = load_clip(None, "hf-hub:lab/siglip")
    assert clip.source == "hf-hub:lab/siglip"
    with torch.no_grad():
        assert clip.text.encode_tokens(clip.text.tokenize(["a star"])).shape == (1, 32)


def test_any_published_name_can_be_fetched():
    assert find_fetchable("RN50/yfcc15m").url.endswith("rn50-quickgelu-yfcc15m-455df137.pt")
    assert find_fetchable("vit_large_patch16_224.mae").hubs == ("timm/vit_large_patch16_224.mae",)
    assert find_fetchable("clip-dinoiser").family == "heads"
    with pytest.raises(ValueError, match="did you mean"):
        find_fetchable("ViT-B-16/opnai")
