"""Class lists of the benchmarks against mmseg's, and the words that methods ask for."""

import pytest

from ovperc.text.class_names import ClassNames, list_class_names, list_variants, load_class_names

COUNTS = {
    "voc21": 21, "voc20": 20, "context60": 60, "context59": 59, "coco_object": 81, "coco_stuff171": 171,
    "cityscapes": 19, "coco_panoptic": 133, "ade150": 150, "ade847": 847, "pc459": 459,
}  # fmt: skip


def test_all_lists_are_shipped():
    assert {name: len(load_class_names(name).labels) for name in list_class_names()} == COUNTS


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_every_variant_is_a_vocabulary_with_the_same_labels(name):
    plain = load_class_names(name)
    for variant in (None, *list_variants(name)):
        vocabulary = load_class_names(name, variant).vocabulary(threshold=0.1)
        assert vocabulary.names == plain.labels
        assert set(vocabulary.owners) == set(range(COUNTS[name]))


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("voc21", "PascalVOCDataset"),
        ("context60", "PascalContextDataset"),
        ("context59", "PascalContextDataset59"),
        ("coco_stuff171", "COCOStuffDataset"),
        ("cityscapes", "CityscapesDataset"),
        ("ade150", "ADE20KDataset"),
    ],
)
def test_labels_are_in_mmseg_order(name, dataset):
    from ovperc.training.compat import prepare_mmseg

    prepare_mmseg()
    import mmseg.datasets

    theirs = tuple(word.strip() for word in getattr(mmseg.datasets, dataset).METAINFO["classes"])
    assert load_class_names(name).labels == theirs


def test_names_with_commas_stay_whole():
    names = load_class_names("ade847")
    assert names.classes[1] == "building, edifice"
    assert names.vocabulary().prompts[1] == "building, edifice"
    assert sum("," in name for name in names.classes) == 217


def test_published_conventions():
    sclip = load_class_names("voc21", "sclip")
    assert len(sclip.background_words) == 26 and sclip.background_words[-1] == "fence"
    assert sclip.prompts["boat"] == ("ship",) and sclip.prompts["diningtable"] == ("table",)
    assert sclip.prompts["person"][1] == "person in shirt" and len(sclip.prompts["person"]) == 7
    assert load_class_names("voc21", "naclip") == sclip
    assert load_class_names("coco_object", "sclip").prompts["person"][-1] == "body"
    assert load_class_names("voc21", "clearclip").background_words == ("background",)
    assert load_class_names("cityscapes", "proxyclip").prompts["traffic light"] == ("trafficlight",)
    # The published list of 17 without "bed", which is a class.
    assert len(load_class_names("coco_object", "trident").background_words) == 16


def test_a_method_without_words_of_its_own_gets_the_plain_names():
    assert load_class_names("voc20", "some_new_method") == load_class_names("voc20")


def test_unknown_list_and_wrong_prompt_key():
    with pytest.raises(ValueError, match="'voc21'"):
        load_class_names("voc_21")
    with pytest.raises(ValueError, match="'cat'"):
        ClassNames("x", ("cat",), False, prompts={"cats": ("cat",)})
