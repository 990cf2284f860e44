"""Rows of the weights catalogue: what ships with ovperc, and what others have published."""

from __future__ import annotations

from ovperc.weights.entry import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, WeightsEntry

_OPENAI = "https://openaipublic.azureedge.net/clip/models"
_META = "https://dl.fbaipublicfiles.com"
_GITHUB = "https://github.com"
_HALF = (0.5, 0.5, 0.5)
_ZERO, _ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
_Norm = tuple[tuple[float, float, float], tuple[float, float, float]]
_CLIP: _Norm = (CLIP_MEAN, CLIP_STD)
_IMAGENET: _Norm = (IMAGENET_MEAN, IMAGENET_STD)
_SYMMETRIC: _Norm = (_HALF, _HALF)
_UNIT: _Norm = (_ZERO, _ONE)
_SATELLITE: _Norm = ((0.43, 0.411, 0.296), (0.213, 0.156, 0.143))


def _shipped(name: str, arch: str, family: str, size_mb: int, sha256: str | None = None) -> WeightsEntry:
    mean, std = _CLIP if family in ("clip", "heads") else _IMAGENET
    source = "ovperc, trained on its own procedural world"
    file = f"{name}.safetensors"
    return WeightsEntry(name, arch, "", file, None, (), sha256, "Apache-2.0", source, mean, std, size_mb, family)


def _openai(arch: str, sha256: str, size_mb: int, size: str) -> WeightsEntry:
    file = f"{arch}px.pt" if arch.endswith("336") else f"{arch}.pt"
    url, source = f"{_OPENAI}/{sha256}/{file}", "OpenAI CLIP, WIT-400M"
    hub = f"timm/vit_{size}.openai" if arch.startswith("ViT") else f"timm/res{size}_clip.openai"
    row = (f"{arch}/openai", f"{arch}-quickgelu", "openai", file, url, (hub,), sha256, "MIT", source, *_CLIP, size_mb)
    return WeightsEntry(*row, paper="2103.00020")


def _clip(
    arch: str,
    tag: str,
    hub: str,
    size_mb: int,
    licence: str,
    source: str,
    paper: str,
    norm: _Norm = _CLIP,
    url: str | None = None,
    quick_gelu: bool = False,
) -> WeightsEntry:
    """A row of open_clip's own table."""
    file = f"{hub.rpartition('/')[2]}.safetensors"
    tower = f"{arch}-quickgelu" if quick_gelu else arch
    row = (f"{arch}/{tag}", tower, tag, file, url, (hub,), None, licence, source, *norm, size_mb)
    return WeightsEntry(*row, paper=paper)


def _laion(arch: str, tag: str, repo: str, size_mb: int, norm: _Norm = _CLIP) -> WeightsEntry:
    return _clip(arch, tag, f"laion/{repo}", size_mb, "MIT", "OpenCLIP, LAION-2B (English)", "2212.07143", norm)


def _datacomp(arch: str, letter: str, size_mb: int) -> WeightsEntry:
    hub = f"laion/CLIP-ViT-{letter}-DataComp.XL-s13B-b90K"
    return _clip(arch, "datacomp_xl_s13b_b90k", hub, size_mb, "MIT", "OpenCLIP, DataComp-1B", "2304.14108")


def _dfn(arch: str, tag: str, repo: str, size_mb: int, quick_gelu: bool = True) -> WeightsEntry:
    source = "Apple, data filtering networks"
    return _clip(arch, tag, f"apple/{repo}", size_mb, "apple-amlr", source, "2309.17425", quick_gelu=quick_gelu)


def _metaclip(arch: str, tag: str, hub: str, file: str, size_mb: int) -> WeightsEntry:
    url = f"{_META}/MMPT/metaclip/{file}"
    source = "MetaCLIP, CommonCrawl"
    return _clip(arch, tag, f"timm/{hub}", size_mb, "CC-BY-NC-4.0", source, "2309.16671", url=url, quick_gelu=True)


def _siglip(arch: str, size_mb: int) -> WeightsEntry:
    second = "SigLIP2" in arch
    source, paper = ("SigLIP 2, WebLI", "2502.14786") if second else ("SigLIP, WebLI (English)", "2303.15343")
    return _clip(arch, "webli", f"timm/{arch}", size_mb, "Apache-2.0", source, paper, _SYMMETRIC)


def _mobileclip(arch: str, tag: str, hub: str, size_mb: int, paper: str, norm: _Norm = _UNIT) -> WeightsEntry:
    return _clip(arch, tag, hub, size_mb, "apple-amlr", "Apple MobileCLIP", paper, norm)


def _eva(arch: str, tag: str, hub: str, size_mb: int) -> WeightsEntry:
    return _clip(arch, tag, f"timm/{hub}.{tag}", size_mb, "MIT", "EVA-02-CLIP, Merged-2B", "2303.15389")


def _perception(arch: str, size_mb: int) -> WeightsEntry:
    source = "Meta Perception Encoder"
    return _clip(arch, "meta", f"timm/{arch}", size_mb, "Apache-2.0", source, "2504.13181", _SYMMETRIC)


def _clipa(arch: str, size_mb: int) -> WeightsEntry:
    hub = f"UCSC-VLAA/{arch}-datacomp1B"
    return _clip(arch, "datacomp1b", hub, size_mb, "Apache-2.0", "CLIPA-v2, DataComp-1B", "2306.15658", _IMAGENET)


def _tinyclip(size: str, data: str, size_mb: int) -> WeightsEntry:
    name, file = f"TinyCLIP-{size}-{data}", f"TinyCLIP-{size}-{data}.safetensors"
    row = (name, "", "", file, None, (f"wkcn/{name}",), None, "MIT", f"TinyCLIP, {data}", *_CLIP, size_mb)
    return WeightsEntry(*row, paper="2309.12314")


def _vision(
    name: str,
    arch: str,
    url: str | None,
    hubs: tuple[str, ...],
    source: str,
    size_mb: int,
    paper: str,
    licence: str = "Apache-2.0",
    norm: _Norm = _IMAGENET,
) -> WeightsEntry:
    file = url.rpartition("/")[2] if url else f"{hubs[0].rpartition('/')[2]}.safetensors"
    family = "sam" if name.startswith("sam-") else "vision"
    return WeightsEntry(name, arch, "", file, url, hubs, None, licence, source, *norm, size_mb, family, paper)


def _dino(name: str, arch: str, stem: str, size_mb: int) -> WeightsEntry:
    url, hubs = f"{_META}/dino/{stem}/{stem}.pth", (f"timm/{arch}", f"facebook/{name}")
    return _vision(name, arch, url, hubs, "DINO, ImageNet-1k", size_mb, "2104.14294")


def _dinov2(letter: str, size: str, size_mb: int, registers: bool = False) -> WeightsEntry:
    folder = f"dinov2_vit{letter}14"
    stem, timm_part = (f"{folder}_reg4", "reg4_dinov2") if registers else (folder, "dinov2")
    arch = f"vit_{size}_patch14_{timm_part}"
    hubs = (f"timm/{arch}.lvd142m", f"facebook/dinov2{'-with-registers' if registers else ''}-{size}")
    url = f"{_META}/dinov2/{folder}/{stem}_pretrain.pth"
    name = f"dinov2-vit{letter}14{'-reg' if registers else ''}"
    return _vision(name, arch, url, hubs, "DINOv2, LVD-142M", size_mb, "2304.07193")


def _dinov3(
    name: str, arch: str, hub: str, size_mb: int, source: str = "DINOv3, LVD-1689M", norm: _Norm = _IMAGENET
) -> WeightsEntry:
    hubs = (f"timm/{arch}", f"facebook/dinov3-{hub}")
    return _vision(name, arch, None, hubs, source, size_mb, "2508.10104", "DINOv3 License", norm)


def _mae(name: str, arch: str, size: str, size_mb: int) -> WeightsEntry:
    url = f"{_META}/mae/pretrain/mae_pretrain_vit_{size}.pth"
    hubs = (f"timm/{arch}", f"facebook/vit-mae-{size}")
    return _vision(name, arch, url, hubs, "MAE, ImageNet-1k", size_mb, "2111.06377", "CC-BY-NC-4.0")


def _radio(name: str, arch: str, hub: str, size_mb: int) -> WeightsEntry:
    hubs, licence = (f"timm/{arch}", f"nvidia/{hub}"), "NVIDIA Open Model License"
    return _vision(name, arch, None, hubs, "NVIDIA C-RADIO", size_mb, "2412.07679", licence, _CLIP)


def _sam(name: str, file: str, size_mb: int, size: str) -> WeightsEntry:
    url, hubs = f"{_META}/segment_anything/{file}", (f"facebook/sam-vit-{size}",)
    return _vision(name, "", url, hubs, "Segment Anything, SA-1B", size_mb, "2304.02643")


def _heads(name: str, file: str, url: str, licence: str, source: str, size_mb: int, paper: str) -> WeightsEntry:
    row = (name, "", "", file, f"{_GITHUB}/{url}", (), None, licence, source, *_CLIP, size_mb, "heads")
    return WeightsEntry(*row, paper=paper)


_OPENAI_ROWS = (
    ("ViT-B-16", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", 335, "base_patch16_clip_224"),
    ("ViT-B-32", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", 338, "base_patch32_clip_224"),
    ("ViT-L-14", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", 890, "large_patch14_clip_224"),
    ("ViT-L-14-336", "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02", 891, "large_patch14_clip_336"),
    ("RN50", "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762", 244, "net50"),
    ("RN101", "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599", 278, "net101"),
    ("RN50x4", "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd", 402, "net50x4"),
    ("RN50x16", "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa", 630, "net50x16"),
    ("RN50x64", "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c", 1260, "net50x64"),
)
"""Architecture, sha256, megabytes, and the size in timm's name."""

CATALOGUE: tuple[WeightsEntry, ...] = (
    _shipped("clip-mini", "clip-mini", "clip", 4, "8f4a4ef6b90ef0968953cc32ed52cf24a32298032d4bf0feb9b629ef98d39429"),
    _shipped("clip-mini-clim", "clip-mini", "clip", 4),
    WeightsEntry(
        name="photo-mini",
        arch="photo-mini",
        tag="",
        file="photo-mini.safetensors",
        url=None,
        hubs=(),
        sha256="cc99203243b22fb7153c2fb1d44eade631aa45ba346bab6f46511057099de7b4",
        licence="Apache-2.0; trained on COCO and ImageNet photographs, see docs/photo_mini.md",
        source="ovperc, from EfficientNet-Lite0's ImageNet weights; words of multilingual-e5-small",
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
        size_mb=16,
    ),
    _shipped("dino-mini", "dino-mini", "vision", 2),
    _shipped("sam-mini", "", "sam", 2),
    _shipped("anomalyclip-mini", "", "heads", 1),
    _shipped("april-gan-mini", "", "heads", 1),
    _shipped("dinoiser-mini", "", "heads", 1),
    _shipped("fvlm-mini", "", "heads", 4),
    *(_openai(*row) for row in _OPENAI_ROWS),
    _laion("ViT-B-32", "laion2b_s34b_b79k", "CLIP-ViT-B-32-laion2B-s34B-b79K", 605),
    _laion("ViT-B-16", "laion2b_s34b_b88k", "CLIP-ViT-B-16-laion2B-s34B-b88K", 599),
    _laion("ViT-L-14", "laion2b_s32b_b82k", "CLIP-ViT-L-14-laion2B-s32B-b82K", 1710, _SYMMETRIC),
    _laion("ViT-H-14", "laion2b_s32b_b79k", "CLIP-ViT-H-14-laion2B-s32B-b79K", 3944),
    _datacomp("ViT-B-32", "B-32", 605),
    _datacomp("ViT-B-16", "B-16", 599),
    _datacomp("ViT-L-14", "L-14", 1710),
    _dfn("ViT-B-16", "dfn2b", "DFN2B-CLIP-ViT-B-16", 599),
    _dfn("ViT-L-14", "dfn2b", "DFN2B-CLIP-ViT-L-14", 1710),
    _dfn("ViT-L-14", "dfn2b_s39b", "DFN2B-CLIP-ViT-L-14-39B", 1710, quick_gelu=False),
    _dfn("ViT-H-14", "dfn5b", "DFN5B-CLIP-ViT-H-14", 3944),
    _dfn("ViT-H-14-378", "dfn5b", "DFN5B-CLIP-ViT-H-14-378", 3947),
    _metaclip("ViT-B-32", "metaclip_fullcc", "vit_base_patch32_clip_224.metaclip_2pt5b", "b32_fullcc2.5b.pt", 605),
    _metaclip("ViT-B-16", "metaclip_400m", "vit_base_patch16_clip_224.metaclip_400m", "b16_400m.pt", 599),
    _metaclip("ViT-B-16", "metaclip_fullcc", "vit_base_patch16_clip_224.metaclip_2pt5b", "b16_fullcc2.5b.pt", 599),
    _metaclip("ViT-L-14", "metaclip_fullcc", "vit_large_patch14_clip_224.metaclip_2pt5b", "l14_fullcc2.5b.pt", 1710),
    _metaclip("ViT-H-14", "metaclip_fullcc", "vit_huge_patch14_clip_224.metaclip_2pt5b", "h14_fullcc2.5b.pt", 3944),
    _clip(
        "ViT-H-14-worldwide",
        "metaclip2_worldwide",
        "timm/vit_huge_patch14_clip_224.metaclip2_worldwide",
        7435,
        "CC-BY-NC-4.0",
        "MetaCLIP 2, worldwide",
        "2507.22062",
        quick_gelu=True,
    ),
    _siglip("ViT-B-16-SigLIP", 813),
    _siglip("ViT-B-16-SigLIP-256", 813),
    _siglip("ViT-B-16-SigLIP-384", 814),
    _siglip("ViT-B-16-SigLIP-512", 815),
    _siglip("ViT-L-16-SigLIP-256", 2609),
    _siglip("ViT-L-16-SigLIP-384", 2610),
    _siglip("ViT-SO400M-14-SigLIP-384", 3512),
    _siglip("ViT-B-16-SigLIP2", 1501),
    _siglip("ViT-B-16-SigLIP2-256", 1501),
    _siglip("ViT-B-16-SigLIP2-384", 1502),
    _siglip("ViT-B-16-SigLIP2-512", 1503),
    _siglip("ViT-L-16-SigLIP2-256", 3526),
    _siglip("ViT-L-16-SigLIP2-384", 3527),
    _siglip("ViT-SO400M-14-SigLIP2-378", 4544),
    _siglip("ViT-SO400M-16-SigLIP2-512", 4546),
    _mobileclip("MobileCLIP-S1", "datacompdr", "apple/MobileCLIP-S1-OpenCLIP", 340, "2311.17049"),
    _mobileclip("MobileCLIP-S2", "datacompdr", "apple/MobileCLIP-S2-OpenCLIP", 397, "2311.17049"),
    _mobileclip("MobileCLIP-B", "datacompdr", "apple/MobileCLIP-B-OpenCLIP", 599, "2311.17049"),
    _mobileclip("MobileCLIP-B", "datacompdr_lt", "apple/MobileCLIP-B-LT-OpenCLIP", 599, "2311.17049"),
    _mobileclip("MobileCLIP2-S0", "dfndr2b", "timm/MobileCLIP2-S0-OpenCLIP", 299, "2508.20691"),
    _mobileclip("MobileCLIP2-S2", "dfndr2b", "timm/MobileCLIP2-S2-OpenCLIP", 397, "2508.20691"),
    _mobileclip("MobileCLIP2-B", "dfndr2b", "timm/MobileCLIP2-B-OpenCLIP", 599, "2508.20691"),
    _mobileclip("MobileCLIP2-L-14", "dfndr2b", "timm/MobileCLIP2-L-14-OpenCLIP", 1710, "2508.20691", _CLIP),
    _eva("EVA02-B-16", "merged2b_s8b_b131k", "eva02_base_patch16_clip_224", 599),
    _eva("EVA02-L-14", "merged2b_s4b_b131k", "eva02_large_patch14_clip_224", 1711),
    _eva("EVA02-L-14-336", "merged2b_s6b_b61k", "eva02_large_patch14_clip_336", 1712),
    _perception("PE-Core-T-16-384", 278),
    _perception("PE-Core-S-16-384", 349),
    _perception("PE-Core-B-16", 1791),
    _perception("PE-Core-L-14-336", 2685),
    _clipa("ViT-L-14-CLIPA", 1657),
    _clipa("ViT-L-14-CLIPA-336", 1658),
    _clipa("ViT-H-14-CLIPA", 3873),
    _tinyclip("ViT-8M-16-Text-3M", "YFCC15M", 95),
    _tinyclip("ViT-39M-16-Text-19M", "YFCC15M", 330),
    _tinyclip("ViT-40M-32-Text-19M", "LAION400M", 335),
    _tinyclip("ViT-61M-32-Text-29M", "LAION400M", 460),
    _dino("dino-vits16", "vit_small_patch16_224.dino", "dino_deitsmall16_pretrain", 87),
    _dino("dino-vits8", "vit_small_patch8_224.dino", "dino_deitsmall8_pretrain", 87),
    _dino("dino-vitb16", "vit_base_patch16_224.dino", "dino_vitbase16_pretrain", 343),
    _dino("dino-vitb8", "vit_base_patch8_224.dino", "dino_vitbase8_pretrain", 343),
    _dinov2("s", "small", 88),
    _dinov2("b", "base", 346),
    _dinov2("l", "large", 1217),
    _dinov2("g", "giant", 4546),
    _dinov2("s", "small", 88, registers=True),
    _dinov2("b", "base", 346, registers=True),
    _dinov2("l", "large", 1217, registers=True),
    _dinov2("g", "giant", 4546, registers=True),
    _dinov3("dinov3-vits16", "vit_small_patch16_dinov3.lvd1689m", "vits16-pretrain-lvd1689m", 86),
    _dinov3("dinov3-vits16plus", "vit_small_plus_patch16_dinov3.lvd1689m", "vits16plus-pretrain-lvd1689m", 115),
    _dinov3("dinov3-vitb16", "vit_base_patch16_dinov3.lvd1689m", "vitb16-pretrain-lvd1689m", 343),
    _dinov3("dinov3-vitl16", "vit_large_patch16_dinov3.lvd1689m", "vitl16-pretrain-lvd1689m", 1212),
    _dinov3("dinov3-vith16plus", "vit_huge_plus_patch16_dinov3.lvd1689m", "vith16plus-pretrain-lvd1689m", 3362),
    _dinov3("dinov3-vit7b16", "vit_7b_patch16_dinov3.lvd1689m", "vit7b16-pretrain-lvd1689m", 26864),
    _dinov3(
        "dinov3-vitl16-sat",
        "vit_large_patch16_dinov3.sat493m",
        "vitl16-pretrain-sat493m",
        1212,
        "DINOv3, SAT-493M",
        _SATELLITE,
    ),
    _mae("mae-vitb16", "vit_base_patch16_224.mae", "base", 343),
    _mae("mae-vitl16", "vit_large_patch16_224.mae", "large", 1213),
    _mae("mae-vith14", "vit_huge_patch14_224.mae", "huge", 2523),
    _radio("radio-v3-b", "vit_base_patch16_radio_v3.c_radio", "C-RADIOv3-B", 346),
    _radio("radio-v3-l", "vit_large_patch16_radio_v3.c_radio", "C-RADIOv3-L", 1217),
    _radio("radio-v3-h", "vit_huge_patch16_radio_v3.c_radio", "C-RADIOv3-H", 2528),
    _radio("radio-v3-g", "vit_giant_patch16_radio_v3.c_radio", "C-RADIOv3-g", 4544),
    _radio("radio-v4-so400m", "vit_so400m_patch16_radio_v4.c_radio", "C-RADIOv4-SO400M", 1654),
    _radio("radio-v4-h", "vit_huge_patch16_radio_v4.c_radio", "C-RADIOv4-H", 2528),
    _sam("sam-vit-b", "sam_vit_b_01ec64.pth", 375, "base"),
    _sam("sam-vit-l", "sam_vit_l_0b3195.pth", 1250, "large"),
    _sam("sam-vit-h", "sam_vit_h_4b8939.pth", 2564, "huge"),
    _heads(
        "clip-dinoiser",
        "clip_dinoiser_last.pt",
        "wysoczanska/clip_dinoiser/raw/main/checkpoints/last.pt",
        "Apache-2.0",
        "CLIP-DINOiser's heads for ViT-B-16/laion2b_s34b_b88k, 1000 pictures of ImageNet",
        7,
        "2312.12359",
    ),
    _heads(
        "anomalyclip-visa",
        "anomalyclip_trained_on_visa.pth",
        "zqhang/AnomalyCLIP/raw/main/checkpoints/9_12_4_multiscale/epoch_15.pth",
        "MIT",
        "AnomalyCLIP's prompts for ViT-L-14-336/openai, trained on VisA's test side: not for tests on VisA",
        23,
        "2310.18961",
    ),
    _heads(
        "anomalyclip-mvtec",
        "anomalyclip_trained_on_mvtec.pth",
        "zqhang/AnomalyCLIP/raw/main/checkpoints/9_12_4_multiscale_visa/epoch_15.pth",
        "MIT",
        "AnomalyCLIP's prompts for ViT-L-14-336/openai, trained on MVTec's test side: not for tests on MVTec",
        23,
        "2310.18961",
    ),
    _heads(
        "april-gan-visa",
        "visa_pretrained.pth",
        "ByChelsea/VAND-APRIL-GAN/raw/master/exps/pretrained/visa_pretrained.pth",
        "MIT",
        "APRIL-GAN's adapters for ViT-L-14-336/openai, trained on VisA's test side: not for tests on VisA",
        13,
        "2305.17382",
    ),
    _heads(
        "april-gan-mvtec",
        "mvtec_pretrained.pth",
        "ByChelsea/VAND-APRIL-GAN/raw/master/exps/pretrained/mvtec_pretrained.pth",
        "MIT",
        "APRIL-GAN's adapters for ViT-L-14-336/openai, trained on MVTec's test side: not for tests on MVTec",
        13,
        "2305.17382",
    ),
)
