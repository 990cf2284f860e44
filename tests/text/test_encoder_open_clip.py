"""Text encoding with open_clip's own tower and tokenizer, against open_clip's zero-shot classifier."""

import open_clip
import pytest
import torch

from helpers.tiny_models import tiny_clip, tiny_open_clip
from ovperc.text.encoder import TextEncoder
from ovperc.text.vocabulary import Vocabulary

WORDS = ["red star", "grass", "a rather long description of some building or edifice", "sea"]


def test_bank_equals_open_clips_zero_shot_classifier():
    model = tiny_open_clip("vit").eval()
    expected = open_clip.build_zero_shot_classifier(
        model,
        open_clip.get_tokenizer("ViT-B-32"),
        classnames=WORDS,
        templates=open_clip.OPENAI_IMAGENET_TEMPLATES,
    ).T
    bank = TextEncoder(tiny_clip("vit").text, "f", "openai80")(Vocabulary.parse(WORDS))
    torch.testing.assert_close(bank.embeddings, expected, atol=2e-6, rtol=0)


def test_a_word_over_the_context_is_named():
    word = "star " * 90
    with pytest.raises(ValueError, match=r"the word 'star star .* does not fit the text tower .*77"):
        TextEncoder(tiny_clip("vit").text, "f", "plain")(Vocabulary.parse(["sea", word]))
