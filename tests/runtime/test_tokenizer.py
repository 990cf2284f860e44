"""The torch-free tokenizer against open_clip's."""

from __future__ import annotations

import pytest
from open_clip.tokenizer import SimpleTokenizer, default_bpe

from ovperc.data.world.vocabulary import COLOURS, MATERIALS, PATTERNS, SHAPES
from ovperc.runtime.tokenizer import PromptTooLongError, Tokenizer
from ovperc.text.templates import get_templates

ODD = (
    "There's a dog, isn't it? We'll they've I'm you'd we're O'Reilly's !!'s",
    "naïve café e\u0301 İstanbul STRASSE ß Ⅷ ½ ²",
    "“quoted” ‘it’s’ ﬁre &amp; ice x<sub>2</sub> &lt;b&gt; &quot;x&quot;",
    "１２ ＡＢＣ 中文 字符 नमस्ते emoji 🙂",
    "<start_of_text> hi <end_of_text>",
    " many   spaces\t\n a_b-c/d 123 4a5b hello…world —dash– tab\x07bell a\u200bb",
    "antidisestablishmentarianism pneumonoultramicroscopic",
    "",
)


@pytest.fixture(scope="module")
def tokenizers() -> tuple[SimpleTokenizer, Tokenizer]:
    return SimpleTokenizer(), Tokenizer(default_bpe())


@pytest.mark.parametrize("text", ODD)
def test_equals_open_clip_on_odd_text(tokenizers, text: str) -> None:
    theirs, ours = tokenizers
    assert ours.encode(text) == theirs.encode(text)


def test_equals_open_clip_on_prompts(tokenizers) -> None:
    theirs, ours = tokenizers
    words = [*COLOURS, *MATERIALS, *PATTERNS, *SHAPES, "pedestrian crossing", "T-shirt", "dirt-track"]
    prompts = [sentence for word in words for sentence in get_templates("openai85").expand(word)[::7]]
    tokens = ours(prompts)
    assert (tokens == theirs(prompts).numpy()[:, : tokens.shape[1]]).all()


def test_refuses_a_prompt_that_does_not_fit(tokenizers) -> None:
    with pytest.raises(PromptTooLongError, match=r"'star star.*needs 102 tokens"):
        tokenizers[1](["star " * 100])
