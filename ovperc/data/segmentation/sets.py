"""Segmentation benchmarks read from files; label map and class list are named after the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ovperc.data.benchmark import ON_DISK, Archive, Source
from ovperc.data.layout import Layout
from ovperc.data.segmentation.benchmark import SegmentationBenchmark
from ovperc.data.segmentation.eval_settings import EvalSettings
from ovperc.data.segmentation.files import SegmentationFiles

_VOC_LICENCE = "images: Flickr terms of use; annotations: free for research"
_COCO_LICENCE = "images: Flickr terms of use; annotations: CC BY 4.0"
_ADE_LICENCE = "images: research only; annotations: BSD-3-Clause"
_CONTEXT_CITATION = "Mottaghi et al., The Role of Context for Object Detection and Semantic Segmentation, CVPR 2014"
_COCO_CITATION = "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014"
_STUFF_CITATION = "Caesar et al., COCO-Stuff: Thing and Stuff Classes in Context, CVPR 2018"
_ADE_CITATION = "Zhou et al., Semantic Understanding of Scenes through the ADE20K Dataset, IJCV 2019"
_CITYSCAPES_PAGE = "https://www.cityscapes-dataset.com/downloads/"

_VOC10 = Archive(
    "VOCtrainval_03-May-2010.tar",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar",
    "md5:da459979d0c395079b5c75ee67908abb",
)
_COCO_IMAGES = Archive(
    "val2017.zip",
    "http://images.cocodataset.org/zips/val2017.zip",
    "sha1:4950dc9d00dbe1c933ee0170f5797584351d2a41",
)
_COCO_INSTANCES = Archive(
    "annotations_trainval2017.zip",
    "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
    "sha1:8551ee4bb5860311e79dace7e79cb91e432e78b3",
    note="only if the stuff maps are not available",
)
_COCO_STUFF = Archive(
    "stuffthingmaps_trainval2017.zip",
    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",
)
_COCO_UNPACK = "unpack the images into images/ and the stuff maps into annotations/"
_COCO_PLACES = ("images/val2017", "val2017"), ("annotations/val2017", "stuffthingmaps/val2017")
_COCO_NAMES = "3b4ea1d567a37f2d71549dd28f1783abf45270b84cffcee2acb008006fdf9d7f"
_CONTEXT_LISTS = ("ImageSets/SegmentationContext/val.txt", "pascalcontext_val.txt")
_CONTEXT_NAMES = "903abb826516974fc79730ae21495d8a577d4293b5fd517d738cfd21b6bd1969"
_ADE_NAMES = "ea1c90a7ccd457dda9514cc222d606241e61d58a5ba75215d5ceff95f1557a36"
_COS_FACTOR = "splice.aggregator.cos_factor"
_KEEP_NEGATIVE = "splice.aggregator.keep_negative"

_VOC = Source(
    ("VOCdevkit/VOC2012",),
    "Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010",
    _VOC_LICENCE,
    (
        Archive(
            "VOCtrainval_11-May-2012.tar",
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            "md5:6cd6e144f989b92b3379bac3b3de84fd",
        ),
    ),
    layout=Layout(
        ("JPEGImages",), ("SegmentationClass",), ".jpg", ".png", 1449,
        lists=("ImageSets/Segmentation/val.txt",),
        names_sha256="6f8edc37993764f6e212237d39546fb595246244147e8a050813c520aac0ade1",
    ),
)  # fmt: skip
_CONTEXT = Source(
    ("VOCdevkit/VOC2010",),
    _CONTEXT_CITATION,
    _VOC_LICENCE,
    (
        _VOC10,
        Archive("trainval_merged.json", "https://codalabuser.blob.core.windows.net/public/trainval_merged.json"),
    ),
    unpack="put trainval_merged.json into VOCdevkit/VOC2010",
    layout=Layout(
        ("JPEGImages",), ("SegmentationClassContext",), ".jpg", ".png", 5104,
        lists=_CONTEXT_LISTS, names_sha256=_CONTEXT_NAMES,
    ),
    conversion="context",
)  # fmt: skip
_PC459 = Source(
    ("VOCdevkit/VOC2010",),
    _CONTEXT_CITATION,
    _VOC_LICENCE,
    (_VOC10, Archive("trainval.tar.gz", "https://www.cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz")),
    unpack="unpack trainval.tar.gz in VOCdevkit/VOC2010 (trainval/*.mat); the split comes from "
    "trainval_merged.json, pascalcontext_val.txt or ImageSets/SegmentationContext/val.txt",
    layout=Layout(
        ("JPEGImages",), ("annotations_detectron2/pc459_val",), ".jpg", ".tif", 5104,
        lists=_CONTEXT_LISTS, names_sha256=_CONTEXT_NAMES,
    ),
    conversion="pc459",
)  # fmt: skip
_COCO_STUFF_164K = Source(
    ("coco_stuff164k",),
    _STUFF_CITATION,
    _COCO_LICENCE,
    (_COCO_IMAGES, _COCO_STUFF),
    unpack=_COCO_UNPACK,
    layout=Layout(*_COCO_PLACES, ".jpg", ".png", 5000, names_sha256=_COCO_NAMES),
)
_COCO_OBJECT = Source(
    ("coco_stuff164k",),
    _COCO_CITATION,
    _COCO_LICENCE,
    (_COCO_IMAGES, _COCO_STUFF, _COCO_INSTANCES),
    unpack=_COCO_UNPACK,
    layout=Layout(*_COCO_PLACES, ".jpg", "_instanceTrainIds.png", 5000, names_sha256=_COCO_NAMES),
    conversion="coco_object",
)
_CITYSCAPES = Source(
    ("cityscapes",),
    "Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016",
    "non-commercial, own terms: https://www.cityscapes-dataset.com/license/",
    tuple(
        Archive(name, _CITYSCAPES_PAGE, note="needs an account")
        for name in ("leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip")
    ),
    layout=Layout(
        ("leftImg8bit/val",), ("gtFine/val",), "_leftImg8bit.png", "_gtFine_labelIds.png", 500,
        names_sha256="9e85f1e65cf6030bacb9336142ddae80c28f66b89526cce603a272f32ac35af6",
    ),
)  # fmt: skip
_ADE2016 = Source(
    ("ADEChallengeData2016",),
    _ADE_CITATION,
    _ADE_LICENCE,
    (
        Archive(
            "ADEChallengeData2016.zip",
            "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            "sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
        ),
    ),
    layout=Layout(
        ("images/validation",), ("annotations/validation",), ".jpg", ".png", 2000, names_sha256=_ADE_NAMES
    ),
)  # fmt: skip
_ADE_FULL = Source(
    ("ADE20K_2021_17_01",),
    _ADE_CITATION,
    _ADE_LICENCE,
    (
        Archive(
            "ADE20K_2021_17_01.zip",
            "https://groups.csail.mit.edu/vision/datasets/ADE20K/request_data/",
            note="needs a request",
        ),
    ),
    layout=Layout(
        ("images_detectron2/validation",), ("annotations_detectron2/validation",), ".jpg", ".tif", 2000,
        names_sha256=_ADE_NAMES,
    ),
    conversion="ade847",
)  # fmt: skip
COCO_SAMPLE = Source(
    ("coco_sample",),
    _COCO_CITATION,
    _COCO_LICENCE,
    homepage="https://github.com/lightly-ai/coco128_yolo",
    layout=Layout(
        ("images/{split}",), ("semantic/{split}",), ".jpg", ".png", 100,
        splits=("val2017", "train2017"), annotated_only=True,
    ),
)  # fmt: skip


def _files(
    name: str,
    title: str,
    source: Source,
    settings: Mapping[str, EvalSettings],
    *,
    ignore_index: int = 255,
    classes: str = "",
    groups: Mapping[str, Sequence[int]] | None = None,
) -> SegmentationBenchmark:
    """A benchmark; ``classes`` names its label map and class list if they differ from ``name``."""
    table = classes or name
    options = {**ON_DISK, "label_map": table, "class_list": table}
    if source.layout.splits:
        options["split"] = source.layout.splits[0]
    return SegmentationBenchmark(
        name,
        f"{title}, {source.layout.count} images",
        partial(SegmentationFiles, source, groups or {}),
        options,
        source,
        ignore_index=ignore_index,
        class_list=table,
        label_map=table,
        settings=settings,
    )


def _coarse(threshold: float) -> EvalSettings:
    """Settings of SAM's prompts in Trident's refinement."""
    return EvalSettings(parts={"refiner.coarse_threshold": threshold})


SEGMENTATION_SETS: tuple[SegmentationBenchmark, ...] = (
    _files("voc21", "PASCAL VOC 2012 val, 20 classes and background", _VOC, {
        "sclip": EvalSettings(logit_scale=65.0, threshold=0.1),
        "naclip": EvalSettings(crop_px=0, stride_px=0, threshold=0.1),
        "clearclip": EvalSettings(threshold=0.5),
        "proxyclip": EvalSettings(threshold=0.2),
        "trident": EvalSettings(threshold=0.2),
        "trident_sam": _coarse(0.2),
    }),
    _files("voc20", "PASCAL VOC 2012 val, 20 classes without background", _VOC, {
        "naclip": EvalSettings(crop_px=0, stride_px=0),
        "trident": EvalSettings(short_side_px=336, stride_px=112, parts={_COS_FACTOR: 0.0}),
        "trident_sam": _coarse(0.2),
    }),
    _files("context60", "PASCAL Context val, 59 classes and background", _CONTEXT, {
        "maskclip": EvalSettings(short_side_px=520, max_long_side_px=520),
        "sclip": EvalSettings(logit_scale=50.0, threshold=0.1),
        "naclip": EvalSettings(threshold=0.1),
        "clearclip": EvalSettings(threshold=0.15),
        "proxyclip": EvalSettings(threshold=0.15),
        # The learned foreground rule is only used on VOC21 and COCO-Object.
        "clip_dinoiser": EvalSettings(parts={"logit_rule": None}),
        "trident": EvalSettings(short_side_px=576, threshold=0.15),
        "trident_sam": _coarse(0.15),
    }),
    _files("context59", "PASCAL Context val, 59 classes without background", _CONTEXT, {
        "maskclip": EvalSettings(short_side_px=520, max_long_side_px=520),
        "trident": EvalSettings(short_side_px=576),
        "trident_sam": _coarse(0.15),
    }),
    _files("coco_object", "COCO-Object val2017, 80 things and background", _COCO_OBJECT, {
        "sclip": EvalSettings(logit_scale=50.0, threshold=0.1),
        "naclip": EvalSettings(threshold=0.1),
        "clearclip": EvalSettings(threshold=0.4),
        "proxyclip": EvalSettings(threshold=0.25),
        "trident": EvalSettings(threshold=0.25),
        "trident_sam": _coarse(0.25),
    }),
    _files("coco_stuff171", "COCO-Stuff 164k val2017, 80 things and 91 stuff classes", _COCO_STUFF_164K, {
        "sclip": EvalSettings(short_side_px=448),
        "trident_sam": _coarse(0.05),
    }),
    _files("coco-sample", "first images of COCO val2017, 80 things and 53 stuff classes", COCO_SAMPLE, {},
           classes="coco_panoptic", groups={"thing": range(80), "stuff": range(80, 133)}),
    _files("cityscapes", "Cityscapes fine val, 19 classes", _CITYSCAPES, {
        "maskclip": EvalSettings(short_side_px=512, max_long_side_px=1024),
        "sclip": EvalSettings(short_side_px=560),
        "naclip": EvalSettings(short_side_px=560),
        "clearclip": EvalSettings(crop_px=224, stride_px=224),
        "proxyclip": EvalSettings(short_side_px=448, crop_px=224),
        "trident": EvalSettings(short_side_px=688, parts={_COS_FACTOR: 3.0, _KEEP_NEGATIVE: False}),
        "trident_sam": _coarse(0.10),
    }),
    _files("ade150", "ADE20K scene parsing challenge 2016 val, 150 classes", _ADE2016, {
        "proxyclip": EvalSettings(short_side_px=448),
        "trident": EvalSettings(short_side_px=576, parts={_KEEP_NEGATIVE: False}),
        "trident_sam": _coarse(0.05),
    }),
    _files("ade847", "ADE20K full (2021_17_01) val, 847 classes", _ADE_FULL,
           {"proxyclip": EvalSettings(short_side_px=448)}, ignore_index=65535),
    _files("pc459", "PASCAL Context val, 459 classes", _PC459,
           {"proxyclip": EvalSettings(short_side_px=448)}, ignore_index=65535),
)  # fmt: skip
