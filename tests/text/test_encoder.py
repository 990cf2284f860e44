"""Text encoding: the formula, what is encoded how often, the store on disk, and the errors."""

import warnings

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ovperc.text.encoder import TextEncoder
from ovperc.text.templates import get_templates
from ovperc.text.vocabulary import Vocabulary

CONTEXT, WIDTH = 24, 8


class CountingTower(nn.Module):
    """Bytes as tokens, 24 at most; embeds by a fixed random map and counts the sentences it saw."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(256, CONTEXT, WIDTH, generator=generator).to(dtype))
        self.sentences = 0
        self.largest_batch = 0
        self.stop_after: int | None = None

    def tokenize(self, prompts: list[str]) -> torch.Tensor:
        tokens = torch.zeros(len(prompts), CONTEXT, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            if len(prompt) > CONTEXT:
                raise ValueError(f"prompt {prompt!r} takes {len(prompt)} tokens, the limit is {CONTEXT}")
            tokens[row, : len(prompt)] = torch.tensor(list(prompt.encode()))
        return tokens

    def encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.stop_after is not None and self.sentences >= self.stop_after:
            raise KeyboardInterrupt
        self.sentences += len(tokens)
        self.largest_batch = max(self.largest_batch, len(tokens))
        return torch.tanh(self.table[tokens, torch.arange(CONTEXT)].sum(dim=1))


PATTERNS = ["{}", "a {}", "one {} more"]
WORDS = Vocabulary.parse("red star, grass|lawn|meadow, sea", background="sky")


def plain_rows(tower, prompts):
    """The card's formula, one word at a time."""
    rows = []
    for prompt in prompts:
        each = tower.encode_tokens(tower.tokenize([pattern.replace("{}", prompt) for pattern in PATTERNS])).double()
        mean = (each / each.norm(dim=1, keepdim=True)).mean(dim=0)
        rows.append(mean / mean.norm())
    return torch.stack(rows)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 7, 256])
def test_bank_equals_the_plain_formula_for_any_batch_size(batch_size):
    tower = CountingTower()
    bank = TextEncoder(tower, "f", PATTERNS, batch_size=batch_size)(WORDS)
    assert tower.largest_batch <= batch_size
    torch.testing.assert_close(bank.embeddings.double(), plain_rows(tower, WORDS.prompts), atol=1e-6, rtol=0)
    assert bank.embeddings.dtype == torch.float32 and not bank.embeddings.requires_grad
    assert bank.owners.tolist() == [0, 1, 2, 2, 2, 3]
    assert bank.names == ("background", "red star", "grass", "sea")
    assert (bank.fingerprint, bank.background) == ("f", WORDS.background)


def test_low_precision_towers_are_averaged_in_float32():
    tower = CountingTower(torch.bfloat16)
    bank = TextEncoder(tower, "f", PATTERNS)(WORDS)
    assert bank.embeddings.dtype == torch.float32
    torch.testing.assert_close(bank.embeddings.double(), plain_rows(tower, WORDS.prompts), atol=1e-6, rtol=0)


def test_each_word_and_each_sentence_is_encoded_once():
    tower = CountingTower()
    encoder = TextEncoder(tower, "f", ["{}", "{}", "a {}"])
    rows = encoder.encode_words(["sea", "sky", "sea"])
    assert tower.sentences == 4
    assert torch.equal(rows[0], rows[2])
    encoder(Vocabulary.parse("sky, sea, star"))
    assert tower.sentences == 6


def test_sentences_that_count_twice_in_the_mean_still_do():
    twice = TextEncoder(CountingTower(), "f", ["{}", "{}", "a {}"]).encode_words(["sea"])[0]
    tower = CountingTower()
    each = nn.functional.normalize(tower.encode_tokens(tower.tokenize(["sea", "sea", "a sea"])), dim=1)
    torch.testing.assert_close(twice, nn.functional.normalize(each.mean(dim=0), dim=0).detach())


def test_a_row_does_not_depend_on_the_other_words():
    together = TextEncoder(CountingTower(), "f", PATTERNS)(WORDS).embeddings
    alone = [TextEncoder(CountingTower(), "f", PATTERNS).encode_words([word])[0] for word in WORDS.prompts]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-6, rtol=0)


def test_store_on_disk_serves_a_second_process(tmp_path):
    first = TextEncoder(CountingTower(), "f", PATTERNS, cache_dir=tmp_path)(WORDS)
    tower = CountingTower()
    second = TextEncoder(tower, "f", PATTERNS, cache_dir=tmp_path)(WORDS)
    assert tower.sentences == 0
    assert torch.equal(first.embeddings, second.embeddings)
    (path,) = tmp_path.glob("*.safetensors")
    assert load_file(path)["embeddings"].shape == (len(WORDS.prompts), WIDTH)


@pytest.mark.parametrize(
    ("fingerprint", "templates", "dtype"),
    [("g", PATTERNS, torch.float32), ("f", ["{}"], torch.float32), ("f", PATTERNS, torch.bfloat16)],
)
def test_store_is_kept_apart_by_encoder_templates_and_precision(tmp_path, fingerprint, templates, dtype):
    TextEncoder(CountingTower(), "f", PATTERNS, cache_dir=tmp_path)(WORDS)
    tower = CountingTower(dtype)
    TextEncoder(tower, fingerprint, templates, cache_dir=tmp_path)(WORDS)
    assert tower.sentences == len(WORDS.prompts) * len(templates)


def test_two_encoders_that_share_a_folder_keep_each_others_words(tmp_path):
    one = TextEncoder(CountingTower(), "f", PATTERNS, cache_dir=tmp_path)
    two = TextEncoder(CountingTower(), "f", PATTERNS, cache_dir=tmp_path)
    one.encode_words(["sea"])
    two.encode_words(["sky"])
    tower = CountingTower()
    TextEncoder(tower, "f", PATTERNS, cache_dir=tmp_path).encode_words(["sea", "sky"])
    assert tower.sentences == 0


@pytest.mark.parametrize("damage", [b"", b"not a tensor file", None])
def test_a_damaged_store_is_ignored_with_a_warning_and_rebuilt(tmp_path, damage):
    expected = TextEncoder(CountingTower(), "f", PATTERNS, cache_dir=tmp_path)(WORDS)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    tower = CountingTower()
    with pytest.warns(UserWarning, match="ignored and rebuilt"):
        bank = TextEncoder(tower, "f", PATTERNS, cache_dir=tmp_path)(WORDS)
    assert tower.sentences > 0
    assert torch.equal(bank.embeddings, expected.embeddings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TextEncoder(CountingTower(), "f", PATTERNS, cache_dir=tmp_path)(WORDS)


def test_a_store_that_cannot_be_written_costs_a_warning_only(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.warns(UserWarning, match="cannot be written"):
        bank = TextEncoder(CountingTower(), "f", PATTERNS, cache_dir=blocked / "folder")(WORDS)
    assert bank.num_classes == 4


def test_an_interrupted_run_keeps_the_finished_batches(tmp_path):
    tower = CountingTower()
    tower.stop_after = 6
    with pytest.raises(KeyboardInterrupt):
        TextEncoder(tower, "f", PATTERNS, cache_dir=tmp_path, batch_size=3)(WORDS)
    resumed = CountingTower()
    TextEncoder(resumed, "f", PATTERNS, cache_dir=tmp_path, batch_size=3)(WORDS)
    assert resumed.sentences == len(WORDS.prompts) * len(PATTERNS) - 6


def test_a_word_that_does_not_fit_is_named_before_others_are_encoded():
    tower = CountingTower()
    with pytest.raises(ValueError, match=r"'a word that is far too long' does not fit .*24.*shorter"):
        TextEncoder(tower, "f", PATTERNS, batch_size=3).encode_words(["sea", "a word that is far too long", "sky"])
    assert tower.sentences == 0


def test_progress_bar_goes_to_stderr_when_asked(capsys):
    TextEncoder(CountingTower(), "f", PATTERNS, progress=True)(WORDS)
    captured = capsys.readouterr()
    assert captured.out == ""
    TextEncoder(CountingTower(), "f", PATTERNS)(WORDS)
    assert capsys.readouterr().err == ""


def test_bad_batch_size():
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        TextEncoder(CountingTower(), "f", get_templates("plain"), batch_size=0)
