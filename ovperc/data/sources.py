"""The downloads behind the benchmarks: layout, archives, licence and citation of each."""

from __future__ import annotations

from dataclasses import dataclass

from ovperc.core.naming import suggest
from ovperc.data.layout import Layout


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
        name: file name.
        url: where its publisher offers it.
        digest: ``"md5:..."`` or ``"sha1:..."`` where a public source states one.
        note: what to know before downloading.
    """

    name: str
    url: str
    digest: str = ""
    note: str = ""


@dataclass(frozen=True)
class Source:
    """A split of a data set as benchmarks read it.

    Attributes:
        name: of the source.
        title: for people.
        folder: where its root usually lies in a folder of data sets.
        layout: of the evaluated split.
        label_map: numbers that its annotations may hold; benchmarks may read them through another map.
        archives: what to download; unpacked as the publishers pack them.
        conversion: name of the conversion that makes its annotations; empty where the download is read as it is.
        licence: in words.
        citation: paper.
        unpack: how the archives are unpacked, where that is not obvious.
    """

    name: str
    title: str
    folder: str
    layout: Layout
    label_map: str
    archives: tuple[Archive, ...]
    licence: str
    citation: str
    conversion: str = ""
    unpack: str = ""


_VOC12 = Archive(
    "VOCtrainval_11-May-2012.tar",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    "md5:6cd6e144f989b92b3379bac3b3de84fd",
)
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
    note="only where the stuff maps cannot be had",
)
_COCO_STUFF = Archive(
    "stuffthingmaps_trainval2017.zip",
    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",
)
_COCO_UNPACK = "unpack the images into images/ and the stuff maps into annotations/"
_COCO_NAMES = "3b4ea1d567a37f2d71549dd28f1783abf45270b84cffcee2acb008006fdf9d7f"
_CONTEXT_LISTS = ("ImageSets/SegmentationContext/val.txt", "pascalcontext_val.txt")
_CONTEXT_NAMES = "903abb826516974fc79730ae21495d8a577d4293b5fd517d738cfd21b6bd1969"
_ADE_NAMES = "ea1c90a7ccd457dda9514cc222d606241e61d58a5ba75215d5ceff95f1557a36"
_VOC_LICENCE = "images: Flickr terms of use; annotations: free for research"
_COCO_LICENCE = "images: Flickr terms of use; annotations: CC BY 4.0"
_CONTEXT_CITATION = "Mottaghi et al., The Role of Context for Object Detection and Semantic Segmentation, CVPR 2014"
_STUFF_CITATION = "Caesar et al., COCO-Stuff: Thing and Stuff Classes in Context, CVPR 2018"
_ADE_CITATION = "Zhou et al., Semantic Understanding of Scenes through the ADE20K Dataset, IJCV 2019"

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="voc2012",
            title="PASCAL VOC 2012 val",
            folder="VOCdevkit/VOC2012",
            layout=Layout(
                ("JPEGImages",), ("SegmentationClass",), ".jpg", ".png", 1449,
                lists=("ImageSets/Segmentation/val.txt",),
                names_sha256="6f8edc37993764f6e212237d39546fb595246244147e8a050813c520aac0ade1",
            ),
            label_map="voc21",
            archives=(_VOC12,),
            licence=_VOC_LICENCE,
            citation="Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010",
        ),
        Source(
            name="context",
            title="PASCAL Context val, 59 classes and background",
            folder="VOCdevkit/VOC2010",
            layout=Layout(
                ("JPEGImages",), ("SegmentationClassContext",), ".jpg", ".png", 5104,
                lists=_CONTEXT_LISTS, names_sha256=_CONTEXT_NAMES,
            ),
            label_map="context60",
            archives=(
                _VOC10,
                Archive("trainval_merged.json", "https://codalabuser.blob.core.windows.net/public/trainval_merged.json"),
            ),
            licence=_VOC_LICENCE,
            citation=_CONTEXT_CITATION,
            conversion="context",
            unpack="put trainval_merged.json into VOCdevkit/VOC2010",
        ),
        Source(
            name="pc459",
            title="PASCAL Context val, 459 classes",
            folder="VOCdevkit/VOC2010",
            layout=Layout(
                ("JPEGImages",), ("annotations_detectron2/pc459_val",), ".jpg", ".tif", 5104,
                lists=_CONTEXT_LISTS, names_sha256=_CONTEXT_NAMES,
            ),
            label_map="pc459",
            archives=(
                _VOC10,
                Archive("trainval.tar.gz", "https://www.cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz"),
            ),
            licence=_VOC_LICENCE,
            citation=_CONTEXT_CITATION,
            conversion="pc459",
            unpack="unpack trainval.tar.gz in VOCdevkit/VOC2010 (trainval/*.mat); the split comes from "
            "trainval_merged.json, pascalcontext_val.txt or ImageSets/SegmentationContext/val.txt",
        ),
        Source(
            name="coco_stuff",
            title="COCO-Stuff 164k val2017",
            folder="coco_stuff164k",
            layout=Layout(
                ("images/val2017", "val2017"), ("annotations/val2017", "stuffthingmaps/val2017"), ".jpg", ".png", 5000,
                names_sha256=_COCO_NAMES,
            ),
            label_map="coco_stuff171",
            archives=(_COCO_IMAGES, _COCO_STUFF),
            licence=_COCO_LICENCE,
            citation=_STUFF_CITATION,
            unpack=_COCO_UNPACK,
        ),
        Source(
            name="coco_object",
            title="COCO-Object val2017",
            folder="coco_stuff164k",
            layout=Layout(
                ("images/val2017", "val2017"), ("annotations/val2017", "stuffthingmaps/val2017"),
                ".jpg", "_instanceTrainIds.png", 5000, names_sha256=_COCO_NAMES,
            ),
            label_map="coco_object",
            archives=(_COCO_IMAGES, _COCO_STUFF, _COCO_INSTANCES),
            licence=_COCO_LICENCE,
            citation="Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
            conversion="coco_object",
            unpack=_COCO_UNPACK,
        ),
        Source(
            name="cityscapes",
            title="Cityscapes fine val",
            folder="cityscapes",
            layout=Layout(
                ("leftImg8bit/val",), ("gtFine/val",), "_leftImg8bit.png", "_gtFine_labelIds.png", 500,
                names_sha256="9e85f1e65cf6030bacb9336142ddae80c28f66b89526cce603a272f32ac35af6",
            ),
            label_map="cityscapes",
            archives=(
                Archive(
                    "leftImg8bit_trainvaltest.zip", "https://www.cityscapes-dataset.com/downloads/",
                    note="needs an account",
                ),
                Archive(
                    "gtFine_trainvaltest.zip", "https://www.cityscapes-dataset.com/downloads/", note="needs an account"
                ),
            ),
            licence="non-commercial, own terms: https://www.cityscapes-dataset.com/license/",
            citation="Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016",
        ),
        Source(
            name="ade2016",
            title="ADE20K scene parsing challenge 2016 val",
            folder="ADEChallengeData2016",
            layout=Layout(
                ("images/validation",), ("annotations/validation",), ".jpg", ".png", 2000, names_sha256=_ADE_NAMES
            ),
            label_map="ade150",
            archives=(
                Archive(
                    "ADEChallengeData2016.zip",
                    "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
                    "sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
                ),
            ),
            licence="images: research only; annotations: BSD-3-Clause",
            citation=_ADE_CITATION,
        ),
        Source(
            name="ade_full",
            title="ADE20K full (2021_17_01) val, 847 classes",
            folder="ADE20K_2021_17_01",
            layout=Layout(
                ("images_detectron2/validation",), ("annotations_detectron2/validation",), ".jpg", ".tif", 2000,
                names_sha256=_ADE_NAMES,
            ),
            label_map="ade847",
            archives=(
                Archive(
                    "ADE20K_2021_17_01.zip", "https://groups.csail.mit.edu/vision/datasets/ADE20K/request_data/",
                    note="needs a request",
                ),
            ),
            licence="images: research only; annotations: BSD-3-Clause",
            citation=_ADE_CITATION,
            conversion="ade847",
        ),
    )
}  # fmt: skip


# Benchmark -> the source it reads; two vocabularies may share one.
BENCHMARK_SOURCES: dict[str, str] = {
    "voc21": "voc2012",
    "voc20": "voc2012",
    "context60": "context",
    "context59": "context",
    "coco_object": "coco_object",
    "coco_stuff171": "coco_stuff",
    "cityscapes": "cityscapes",
    "ade150": "ade2016",
    "ade847": "ade_full",
    "pc459": "pc459",
}


def get_source(name: str) -> Source:
    """A source by its own name.

    Raises:
        ValueError: no such source.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data source {name!r}; {suggest(name, SOURCES)}")
    return SOURCES[name]


def source_of(name: str) -> Source:
    """The source that a benchmark reads.

    Args:
        name: of a benchmark; dashes and underscores are the same.

    Raises:
        ValueError: no such benchmark.
    """
    key = name.replace("-", "_")
    if key not in BENCHMARK_SOURCES:
        raise ValueError(f"unknown benchmark {name!r}; {suggest(key, BENCHMARK_SOURCES)}")
    return SOURCES[BENCHMARK_SOURCES[key]]
