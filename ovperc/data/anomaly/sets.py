"""Anomaly localization benchmarks read from files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ovperc.data.anomaly.files import AnomalyFiles
from ovperc.data.anomaly.layouts import (
    AnomalyLayout,
    Scan,
    flat,
    kinds,
    scan_dagm,
    scan_kolektor,
    scan_meta,
    scan_mvtec,
    scan_plain,
    scan_visa,
)
from ovperc.data.benchmark import ON_DISK, Benchmark, Source

_OPTIONS = {**ON_DISK, "categories": None, "words": None, "mask_above": 0, "hold_out": 0, "seed": 0, "upright": None}


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _set(
    name: str,
    title: str,
    folders: tuple[str, ...],
    scan: Scan,
    categories: tuple[str, ...] = (),
    words: Mapping[str, str] | None = None,
    homepage: str = "",
    citation: str = "",
    upright: bool = False,
) -> Benchmark:
    layout = AnomalyLayout(scan, categories, words or {}, upright)
    source = Source(folders, citation, homepage=homepage, layout=layout)
    return Benchmark(name, title, partial(AnomalyFiles, source), _OPTIONS, source, task="anomaly")


_MVTEC = _names(
    "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor wood zipper"
)
_VISA = _names("candle capsules cashew chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum")
_MPDD = _names("bracket_black bracket_brown bracket_white connector metal_plate tubes")
_DTD = _names(
    "Blotchy_099 Fibrous_183 Marbled_078 Matted_069 Mesh_114 Perforated_037 Stratified_154 Woven_001 Woven_068 "
    "Woven_104 Woven_125 Woven_127"
)
_DAGM = tuple(f"Class{number}" for number in range(1, 11))
_POLYPS = flat("colon", ("images", "image", "Original"), ("masks", "mask", "Ground Truth"))

ANOMALY_SETS: tuple[Benchmark, ...] = (
    _set(
        "mvtec", "MVTec AD, 15 products", ("mvtec", "mvtec_anomaly_detection", "MVTec"), scan_mvtec, _MVTEC,
        homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        citation="Bergmann et al., MVTec AD, CVPR 2019",
    ),
    _set(
        "visa", "VisA, 12 products", ("visa", "VisA", "VisA_20220922", "visa_pytorch"), scan_visa, _VISA,
        {"macaroni1": "macaroni", "macaroni2": "macaroni"},
        "https://github.com/amazon-science/spot-diff", "Zou et al., SPot-the-Difference, ECCV 2022",
    ),
    _set(
        "btad", "BTAD, 3 products", ("btad", "BTech_Dataset_transformed", "BTAD"), scan_mvtec, ("01", "02", "03"),
        {"01": "object", "02": "object", "03": "object"},
        "https://github.com/pankajmishra000/VT-ADL", "Mishra et al., VT-ADL, ISIE 2021",
    ),
    _set(
        "mpdd", "MPDD, 6 painted metal parts", ("mpdd", "MPDD"), scan_mvtec, _MPDD,
        homepage="https://github.com/stepanje/MPDD", citation="Jezek et al., MPDD, ICUMT 2021",
    ),
    _set(
        "dagm", "DAGM 2007, 10 textures", ("dagm", "DAGM_KaggleUpload", "DAGM"), scan_dagm, _DAGM,
        dict.fromkeys(_DAGM, "texture"),
        "https://hci.iwr.uni-heidelberg.de/content/weakly-supervised-learning-industrial-optical-inspection",
        "Wieler and Hahn, DAGM 2007",
    ),
    _set(
        "dtd_synthetic", "DTD-Synthetic, 12 textures", ("dtd_synthetic", "DTD-Synthetic", "DTDSynthetic"),
        scan_mvtec, _DTD, {name: f"{name.split('_')[0].lower()} texture" for name in _DTD},
        "https://drive.google.com/drive/folders/10OyPzvI3H6llCZBxKxFlKWt1Pw1tkMK1",
        "Aota et al., Zero-shot versus Many-shot, WACV 2023",
    ),
    _set(
        "sdd", "KolektorSDD, electrical commutators", ("sdd", "SDD", "KolektorSDD"), scan_kolektor,
        ("electrical commutators",), {"electrical commutators": "electrical commutator"},
        "https://www.vicos.si/resources/kolektorsdd/", "Tabernik et al., JIM 2020",
    ),
    _set("headct", "HeadCT, images only", ("headct", "HeadCT"),
               kinds("brain", ("brain", "test"), ("good", "normal"))),
    _set("brainmri", "BrainMRI, images only", ("brainmri", "BrainMRI"),
               kinds("brain", ("brain_tumor_dataset",), ("no", "good"))),
    _set("br35h", "Br35H, images only", ("br35h", "Br35H"), kinds("brain", (), ("no", "good"))),
    _set("covid19", "COVID-19 chest X-rays, images only", ("covid19", "COVID-19"),
               kinds("chest", (), ("normal", "good"))),
    _set("isic", "ISBI 2016 skin lesions, no normal images", ("isic", "ISIC", "ISBI"),
               kinds("skin", ("skin", "test"), ("good",), "ISBI2016_ISIC_Part1_Test_GroundTruth")),
    _set("cvc_clinicdb", "CVC-ClinicDB polyps, no normal images", ("CVC-ClinicDB", "cvc_clinicdb"), _POLYPS),
    _set("cvc_colondb", "CVC-ColonDB polyps, no normal images", ("CVC-ColonDB", "cvc_colondb"), _POLYPS),
    _set("kvasir", "Kvasir-SEG polyps, no normal images", ("kvasir", "Kvasir", "Kvasir-SEG"), _POLYPS),
    _set("endo", "EndoTect 2020 polyps, no normal images",
               ("endo", "EndoTect_2020_Segmentation_Test_Dataset"), _POLYPS),
    _set("tn3k", "TN3K thyroid nodules, no normal images", ("tn3k", "Thyroid Dataset", "TN3K"),
               flat("thyroid", ("test-image", "test_image"), ("test-mask", "test_mask"))),
    _set("anomaly_folder", "custom data: good/, one folder per defect type, optional masks",
               (), scan_plain, upright=True),
    _set("anomaly_meta", "any data set listed in a meta.json", (), scan_meta),
)  # fmt: skip
