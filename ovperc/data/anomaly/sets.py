"""The table of anomaly sets that are files: layout, names in words, where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ovperc.core.naming import suggest
from ovperc.data.anomaly.layouts import (
    Scan,
    flat,
    kinds,
    mask_of,
    scan_dagm,
    scan_kolektor,
    scan_meta,
    scan_mvtec,
    scan_plain,
    scan_visa,
)
from ovperc.data.anomaly.records import AnomalyRecord, AnomalySample
from ovperc.data.anomaly.scanning import FoundImage, by_category, relative_name
from ovperc.data.layout import LayoutError, resolve_root
from ovperc.io.images import ImageError, read_stored_image


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


@dataclass(frozen=True)
class AnomalySet:
    """A set as its publisher packs it.

    Attributes:
        name: of its benchmark.
        title: for people.
        folders: names that its folder may have in a folder of data sets.
        scan: finds its images.
        categories: that a whole copy has; empty where any will do.
        words: category -> words, where the name with spaces for underscores will not do.
        source: address of the publisher.
        citation: paper.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    scan: Scan
    categories: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    citation: str = ""


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

ANOMALY_SETS: Mapping[str, AnomalySet] = {
    entry.name: entry
    for entry in (
        AnomalySet(
            "mvtec", "MVTec AD, 15 products", ("mvtec", "mvtec_anomaly_detection", "MVTec"), scan_mvtec, _MVTEC,
            source="https://www.mvtec.com/company/research/datasets/mvtec-ad",
            citation="Bergmann et al., MVTec AD, CVPR 2019",
        ),
        AnomalySet(
            "visa", "VisA, 12 products", ("visa", "VisA", "VisA_20220922", "visa_pytorch"), scan_visa, _VISA,
            {"macaroni1": "macaroni", "macaroni2": "macaroni"},
            "https://github.com/amazon-science/spot-diff", "Zou et al., SPot-the-Difference, ECCV 2022",
        ),
        AnomalySet(
            "btad", "BTAD, 3 products", ("btad", "BTech_Dataset_transformed", "BTAD"), scan_mvtec, ("01", "02", "03"),
            {"01": "object", "02": "object", "03": "object"},
            "https://github.com/pankajmishra000/VT-ADL", "Mishra et al., VT-ADL, ISIE 2021",
        ),
        AnomalySet(
            "mpdd", "MPDD, 6 painted metal parts", ("mpdd", "MPDD"), scan_mvtec, _MPDD,
            source="https://github.com/stepanje/MPDD", citation="Jezek et al., MPDD, ICUMT 2021",
        ),
        AnomalySet(
            "dagm", "DAGM 2007, 10 textures", ("dagm", "DAGM_KaggleUpload", "DAGM"), scan_dagm, _DAGM,
            dict.fromkeys(_DAGM, "texture"),
            "https://hci.iwr.uni-heidelberg.de/content/weakly-supervised-learning-industrial-optical-inspection",
            "Wieler and Hahn, DAGM 2007",
        ),
        AnomalySet(
            "dtd_synthetic", "DTD-Synthetic, 12 textures", ("dtd_synthetic", "DTD-Synthetic", "DTDSynthetic"),
            scan_mvtec, _DTD, {name: f"{name.split('_')[0].lower()} texture" for name in _DTD},
            "https://drive.google.com/drive/folders/10OyPzvI3H6llCZBxKxFlKWt1Pw1tkMK1",
            "Aota et al., Zero-shot versus Many-shot, WACV 2023",
        ),
        AnomalySet(
            "sdd", "KolektorSDD, electrical commutators", ("sdd", "SDD", "KolektorSDD"), scan_kolektor,
            ("electrical commutators",), {"electrical commutators": "electrical commutator"},
            "https://www.vicos.si/resources/kolektorsdd/", "Tabernik et al., JIM 2020",
        ),
        AnomalySet("headct", "HeadCT, images only", ("headct", "HeadCT"),
                   kinds("brain", ("brain", "test"), ("good", "normal"))),
        AnomalySet("brainmri", "BrainMRI, images only", ("brainmri", "BrainMRI"),
                   kinds("brain", ("brain_tumor_dataset",), ("no", "good"))),
        AnomalySet("br35h", "Br35H, images only", ("br35h", "Br35H"), kinds("brain", (), ("no", "good"))),
        AnomalySet("covid19", "COVID-19 chest X-rays, images only", ("covid19", "COVID-19"),
                   kinds("chest", (), ("normal", "good"))),
        AnomalySet("isic", "ISBI 2016 skin lesions, no normal images", ("isic", "ISIC", "ISBI"),
                   kinds("skin", ("skin", "test"), ("good",), "ISBI2016_ISIC_Part1_Test_GroundTruth")),
        AnomalySet("cvc_clinicdb", "CVC-ClinicDB polyps, no normal images", ("CVC-ClinicDB", "cvc_clinicdb"), _POLYPS),
        AnomalySet("cvc_colondb", "CVC-ColonDB polyps, no normal images", ("CVC-ColonDB", "cvc_colondb"), _POLYPS),
        AnomalySet("kvasir", "Kvasir-SEG polyps, no normal images", ("kvasir", "Kvasir", "Kvasir-SEG"), _POLYPS),
        AnomalySet("endo", "EndoTect 2020 polyps, no normal images",
                   ("endo", "EndoTect_2020_Segmentation_Test_Dataset"), _POLYPS),
        AnomalySet("tn3k", "TN3K thyroid nodules, no normal images", ("tn3k", "Thyroid Dataset", "TN3K"),
                   flat("thyroid", ("test-image", "test_image"), ("test-mask", "test_mask"))),
        AnomalySet("anomaly_folder", "your own parts: good/, a folder per kind of defect, masks if you have them",
                   (), scan_plain),
        AnomalySet("anomaly_meta", "any set listed in a meta.json", (), scan_meta),
    )
}  # fmt: skip


class AnomalyFiles:
    """A set on disk.

    Args:
        entry: which.
        root: its folder, or the folder of all data sets; ``None`` takes ``$OVPERC_DATA``.
        partial: read a copy that lacks categories.
        categories: only these; None for all that are expected or, where none are, found.
        words: category -> words, replaces the table's.
        mask_above: values of mask files above it are defects; 0 as published. JPEG masks have noise round their
            edges: 127 is better there.
        hold_out: so many normal test images of each category without training images are taken out of the test to
            learn from.
        seed: which those are.

    Attributes:
        categories, words, records: see ``AnomalyImages``.
        complete: whether all categories of the set are read.

    Raises:
        LayoutError: the data is not there, or not whole; the message says what was expected where.
    """

    def __init__(
        self,
        entry: AnomalySet,
        root: str | Path | None,
        partial: bool = False,
        categories: Sequence[str] | None = None,
        words: Mapping[str, str] | None = None,
        mask_above: int = 0,
        hold_out: int = 0,
        seed: int = 0,
    ) -> None:
        self.root = _resolve(root, entry)
        self.mask_above = mask_above
        groups = by_category(entry.scan(self.root))
        self.categories = _chosen(entry, groups, categories, partial, self.root)
        self.complete = set(entry.categories or groups) <= set(self.categories)
        given = {**entry.words, **(words or {})}
        self.words = {name: given.get(name, name.replace("_", " ")) for name in self.categories}
        self._train: dict[str, list[Path]] = {}
        self._test: list[FoundImage] = []
        for name in self.categories:
            train, test = _split(groups[name], hold_out, seed, name)
            self._train[name] = train
            self._test += test
        self.records = tuple(
            AnomalyRecord(relative_name(item.image, self.root), item.category, item.kind, item.anomalous)
            if item.image.is_relative_to(self.root)
            else AnomalyRecord(
                f"{item.category}/{item.kind}/{item.image.stem}", item.category, item.kind, item.anomalous
            )
            for item in self._test
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> AnomalySample:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of a set of {len(self)}")
        found = self._test[index]
        image = read_stored_image(found.image)
        if not found.anomalous:
            return AnomalySample(
                image, np.zeros(image.shape[:2], bool) if self._has_masks else None, self.records[index]
            )
        if found.mask is None:
            return AnomalySample(image, None, self.records[index])
        mask = mask_of(found.mask, self.mask_above)
        if mask.shape != image.shape[:2]:
            raise ImageError(
                f"{found.mask}: the mask is {mask.shape[1]} x {mask.shape[0]}, its image {found.image.name} "
                f"{image.shape[1]} x {image.shape[0]}; they must be equal"
            )
        return AnomalySample(image, mask, self.records[index])

    @property
    def _has_masks(self) -> bool:
        """Whether pixels can be scored, for which normal images count with all they have."""
        return any(item.mask is not None for item in self._test)

    def num_normal(self, category: str) -> int:
        """How many normal training images a category has."""
        return len(self._train[category])

    def normal_image(self, category: str, index: int) -> np.ndarray:
        """A normal training image, ``(H, W, 3)`` uint8 RGB."""
        return read_stored_image(self._train[category][index])


def get_anomaly_set(name: str) -> AnomalySet:
    """A row of the table.

    Raises:
        ValueError: no such set; near matches are offered.
    """
    if name not in ANOMALY_SETS:
        raise ValueError(f"unknown anomaly set {name!r}; {suggest(name, ANOMALY_SETS)}")
    return ANOMALY_SETS[name]


def open_set(name: str, **options: object) -> AnomalyFiles:
    """A set by its name; options as for :class:`AnomalyFiles`."""
    return AnomalyFiles(get_anomaly_set(name), **options)  # type: ignore[arg-type]


def _resolve(root: str | Path | None, entry: AnomalySet) -> Path:
    first = entry.folders[0] if entry.folders else f"the folder of {entry.name}"
    base = resolve_root(root, first)
    inside = (base / name for name in entry.folders)
    found = next((path for path in inside if path.is_dir()), base)
    if not found.is_dir():
        raise LayoutError(f"{found}: no such folder; pass the folder of {entry.title} with --data-root")
    return found


def _chosen(
    entry: AnomalySet,
    groups: Mapping[str, list[FoundImage]],
    asked: Sequence[str] | None,
    partial: bool,
    root: Path,
) -> tuple[str, ...]:
    """Categories to read, all of them there."""
    known = entry.categories or tuple(groups)
    wanted = known if asked is None else tuple(asked)
    strange = [name for name in wanted if name not in known and name not in groups]
    if strange:
        raise ValueError(f"unknown category {strange[0]!r} of {entry.title}; {suggest(strange[0], known)}")
    missing = [name for name in wanted if name not in groups]
    if missing and (not partial or len(missing) == len(wanted)):
        raise LayoutError(
            f"{root}: categories {', '.join(missing)} of {entry.title} are missing (found: "
            f"{', '.join(sorted(groups)) or 'none'}); --allow-partial scores what is there"
        )
    return tuple(name for name in wanted if name in groups)


def _split(found: Sequence[FoundImage], hold_out: int, seed: int, category: str) -> tuple[list[Path], list[FoundImage]]:
    """Training files and test images of a category."""
    train = [item.image for item in found if item.train]
    test = [item for item in found if not item.train]
    good = [item for item in test if not item.anomalous]
    if not test:
        raise LayoutError(f"category {category!r} has no test images")
    if train or not hold_out:
        return train, test
    if hold_out >= len(good):
        raise LayoutError(
            f"hold_out={hold_out} normal images of {category!r} are asked for, and some must remain for the test; "
            f"there are {len(good)}"
        )
    order = np.random.default_rng((seed, *category.encode())).permutation(len(good))[:hold_out]
    taken = [good[int(place)] for place in order]
    return [item.image for item in taken], [item for item in test if item not in taken]
