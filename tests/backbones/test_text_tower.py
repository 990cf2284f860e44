"""Text towers against open_clip's own encode_text over the full context."""

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from helpers.tiny_models import EMBED_DIM, tiny_open_clip
from ovperc.backbones.text_tower import TextTower

PROMPTS = ["cat", "a photo of a striped red star on grass, in the late evening sun.", "tree"]


@pytest.fixture(scope="module")
def tokenizer():
    return SimpleTokenizer()


@pytest.mark.parametrize("kind", ["vit", "timm-token", "siglip"])
def test_equals_full_context(kind, tokenizer):
    model = tiny_open_clip(kind, seed=3)
    tower = TextTower(model, tokenizer)
    assert tower.causal == (kind != "siglip")
    assert (tower.context_length, tower.embed_dim) == (77, EMBED_DIM)
    tokens = tower.tokenize(PROMPTS)
    assert tokens.shape == (3, 77) and tokens.dtype == torch.int64
    with torch.no_grad():
        embedded = tower.encode_tokens(tokens)
        expected = model.encode_text(tokens)
        alone = tower.encode_tokens(tokens[:1])
    torch.testing.assert_close(embedded, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(alone[0], embedded[0], rtol=1e-5, atol=1e-5)


def test_causal_tower_reads_only_up_to_the_longest_end(tokenizer, monkeypatch):
    tower = TextTower(tiny_open_clip("vit"), tokenizer)
    seen = []
    stock = tower.tower.transformer.forward
    monkeypatch.setattr(
        tower.tower.transformer, "forward", lambda x, attn_mask: seen.append(x.shape[1]) or stock(x, attn_mask)
    )
    with torch.no_grad():
        tower.encode_tokens(tower.tokenize(["cat", "red star"]))
    assert seen == [4]


def test_prompt_that_does_not_fit(tokenizer):
    tower = TextTower(tiny_open_clip("vit"), tokenizer)
    assert tower.tokenize(["cat " * 75])[0, -1] == tokenizer.eot_token_id
    with pytest.raises(ValueError, match=r"'cat cat .*needs 78 tokens .*reads 77"):
        tower.tokenize(["tree", "cat " * 76])


def test_bad_prompts(tokenizer):
    tower = TextTower(tiny_open_clip("vit"), tokenizer)
    with pytest.raises(ValueError, match="no prompt"):
        tower.tokenize([])
    with pytest.raises(TypeError, match="list of strings"):
        tower.tokenize("cat")
    with pytest.raises(TypeError, match="list of strings"):
        tower.tokenize(["cat", 3])
