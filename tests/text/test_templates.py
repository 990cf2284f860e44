"""Template sets: the published sentences, articles, and the errors."""

import open_clip
import pytest

from ovperc.data.world.vocabulary import MATERIALS, SHAPES
from ovperc.text.templates import TemplateSet, get_templates, list_templates


def test_openai_sets_equal_the_published_sentences():
    sentences = [template("red {star}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
    eighty, eighty_five = get_templates("openai80"), get_templates("openai85")
    assert list(eighty.expand("red {star}")) == sentences
    assert eighty_five.expand("dog")[:80] == eighty.expand("dog")
    assert set(eighty_five.expand("dog")[80:]) == {
        "there is a dog in the scene.",
        "there is the dog in the scene.",
        "this is a dog in the scene.",
        "this is the dog in the scene.",
        "this is one dog in the scene.",
    }


@pytest.mark.parametrize(
    ("word", "phrase"),
    [
        ("red star", "a red star"),
        ("orange ring", "an orange ring"),
        ("grass", "grass"),
        ("Wet Sand", "Wet Sand"),
        ("the cat", "the cat"),
        ("glass bottle", "a glass bottle"),
    ],
)
def test_world_sentences_use_articles_as_captions_do(word, phrase):
    sentences = get_templates("world").expand(word)
    assert sentences[:2] == (word, phrase)
    assert f"a photo of {phrase}" in sentences


def test_materials_of_the_world_take_no_article():
    templates = get_templates("world")
    for material in MATERIALS:
        assert templates.expand(material)[1] == material
    for shape in SHAPES:
        assert templates.expand(f"red {shape}")[1] == f"a red {shape}"


def test_every_set_puts_the_word_into_every_sentence():
    for name in list_templates():
        templates = get_templates(name)
        assert templates.name == name
        assert len(templates) == len(templates.expand("zebra")) > 0
        assert all("zebra" in sentence for sentence in templates.expand("zebra"))


def test_plain_photo_and_own_sentences():
    assert get_templates("plain").expand("red star") == ("red star",)
    assert get_templates("photo").expand("red star") == ("a photo of a red star.",)
    assert get_templates(["my {}", "{a}!"]).expand("ox") == ("my ox", "an ox!")
    templates = get_templates("plain")
    assert get_templates(templates) is templates


def test_digest_follows_the_content_only():
    one = TemplateSet("one", ("a {}", "{a}"))
    assert one.digest == TemplateSet("two", ("a {}", "{a}")).digest
    assert one.digest != TemplateSet("one", ("{a}", "a {}")).digest
    assert one.digest != TemplateSet("one", ("a {}", "{a}"), frozenset({"grass"})).digest


def test_bad_templates():
    with pytest.raises(ValueError, match=r"unknown template set .openai8.; did you mean .*.openai80."):
        get_templates("openai8")
    with pytest.raises(ValueError, match="exactly one"):
        get_templates(["no place"])
    with pytest.raises(ValueError, match="exactly one"):
        get_templates(["{} and {a}"])
    with pytest.raises(ValueError, match="is empty"):
        get_templates([])
    with pytest.raises(TypeError, match="got 3"):
        get_templates([3])
