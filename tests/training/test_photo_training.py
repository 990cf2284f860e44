"""The trainings of photo-mini, on stand-ins of their teachers."""

import numpy as np
import pytest
import torch

from ovperc.backbones.photo_mini import build_photo_mini
from ovperc.data.photo import sentence_teacher
from ovperc.data.photo.batches import PhotoBatch
from ovperc.data.photo.sentences import SentenceBatch
from ovperc.training import photo_alignment, text_distillation
from ovperc.training.photo_alignment import TEXT_PROJECTION, PhotoAlignment, encode_words, text_tower
from ovperc.training.text_distillation import TEACHER_DIM, TextDistillation
from ovperc.weights.reading import read_checkpoint
from ovperc.weights.token_table import TOKEN_TABLE, unpack_tokens


@pytest.fixture(autouse=True)
def _random_teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    def embed(sentences, cache=None):
        rows = np.random.default_rng(len(sentences)).normal(size=(len(sentences), TEACHER_DIM)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def fill(body):
        return torch.randn(1000, body.num_features, generator=torch.Generator().manual_seed(0))

    monkeypatch.setattr(sentence_teacher, "embed_sentences", embed)
    monkeypatch.setattr(text_distillation, "embed_sentences", embed)
    monkeypatch.setattr(photo_alignment, "load_imagenet_body", fill)
    monkeypatch.setattr(photo_alignment, "class_frequencies", lambda: torch.full((133,), 1 / 133))


@pytest.fixture
def distillation() -> TextDistillation:
    torch.manual_seed(0)
    return TextDistillation().eval()


def _sentences() -> SentenceBatch:
    from open_clip.tokenizer import SimpleTokenizer

    tokens = SimpleTokenizer()(["a cat", "a photo of a dog.", "a cat"])[:, :12].long()
    targets = torch.nn.functional.normalize(torch.randn(3, TEACHER_DIM), dim=-1)
    targets[2] = targets[0]
    return SentenceBatch(tokens, targets)


def test_the_exported_text_tower_is_the_trained_one(distillation: TextDistillation) -> None:
    batch = _sentences()
    state = distillation.export_state(distillation.state_dict())
    tower = text_tower(state)
    with torch.no_grad():
        expected = distillation(batch, mode="tensor")
        found = torch.nn.functional.normalize(tower.encode_tokens(batch.tokens), dim=-1)
    assert torch.nn.functional.cosine_similarity(expected, found).min() > 0.999  # 8-bit tokens


def test_a_text_drawn_twice_is_not_its_own_negative(distillation: TextDistillation) -> None:
    batch = _sentences()
    losses = distillation(batch)
    single = distillation(SentenceBatch(batch.tokens[:2], batch.targets[:2]))
    assert losses["loss_contrast"] < single["loss_contrast"] + 1e-4
    losses["loss_cosine"].backward()
    assert distillation.tower.token_embedding.table.grad.abs().sum() > 0


def _photos() -> PhotoBatch:
    generator = torch.Generator().manual_seed(1)
    return PhotoBatch(
        torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=generator),
        torch.randint(0, 133, (2, 8, 8), generator=generator),
        torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=generator),
        torch.tensor([3, 999]),
    )


def test_losses_reach_what_is_trained_only(distillation: TextDistillation, tmp_path) -> None:
    from ovperc.training.export_weights import save_weights

    path = tmp_path / "text.safetensors"
    save_weights(path, distillation.export_state(distillation.state_dict()), {})
    settings = {"tag_weight": 0.5, "teacher_weight": 0.5, "anchor_weight": 0.5}
    model = PhotoAlignment(path, trained_body=False, **settings).train()
    losses = model(_photos())
    assert set(losses) == {"loss_dense", "loss_tag", "loss_teacher", "loss_anchor"}
    sum(losses.values()).backward()
    trained = {name for name, value in model.named_parameters() if value.grad is not None}
    assert {"word_map.weight", "logit_scale", "visual.trunk.laterals.0.weight"} <= trained
    assert not any(".body." in name for name in trained)

    state = model.export_state(model.state_dict())
    clip = build_photo_mini()
    clip.load_state_dict({**unpack_tokens(state, clip.vocab_size)})
    words = ["cat", "traffic light"]
    expected = torch.nn.functional.normalize(
        model.word_map(encode_words(words, text_tower(read_checkpoint(path)))), dim=-1
    )
    tower = photo_alignment.TextTower(clip, photo_alignment.SimpleTokenizer())
    assert state[TEXT_PROJECTION].shape == (256, 256)
    found = encode_words(words, tower)
    assert torch.nn.functional.cosine_similarity(expected, found).min() > 0.98
    assert TOKEN_TABLE not in state


def test_hidden_tags_are_compared_with_by_no_loss(distillation: TextDistillation, tmp_path) -> None:
    from ovperc.training.export_weights import save_weights

    path = tmp_path / "text.safetensors"
    save_weights(path, distillation.export_state(distillation.state_dict()), {})
    model = PhotoAlignment(path, hidden_tags=range(0, 1000, 10))
    assert len(model.tag_rows) == len(model.classifier) == 900
    assert model.tag_places[0] == -1 and model.tag_places[999] == 899
