"""The text cache under damage and under several processes and threads: a word never gets another word's row."""

import copy
import multiprocessing
import pickle
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from ovperc.text.bank_store import BankStore, word_key

WIDTH = 16


def row_of(word: str) -> torch.Tensor:
    """The one right row of a word."""
    generator = torch.Generator().manual_seed(int.from_bytes(word_key(word, torch.float32)[:6], "big"))
    return torch.nn.functional.normalize(torch.randn(WIDTH, generator=generator), dim=0)


def keys_of(words: list[str]) -> list[bytes]:
    return [word_key(word, torch.float32) for word in words]


def open_store(folder: Path | None, **options: int) -> BankStore:
    return BankStore(folder, "encoder", "templates", **options)


def add(store: BankStore, words: list[str]) -> None:
    store.add(keys_of(words), torch.stack([row_of(word) for word in words]))


def assert_right(store: BankStore, words: list[str]) -> int:
    """Every row found is its word's own; returns how many there are."""
    found = store.find(keys_of(words))
    for word in words:
        row = found.get(word_key(word, torch.float32))
        assert row is None or torch.equal(row, row_of(word)), word
    return len(found)


def write_words(folder: Path, writer: int, rounds: int) -> None:
    store = open_store(folder)
    for index in range(rounds):
        add(store, [f"writer {writer} word {index}"])
        store.flush()


def read_words(folder: Path, words: list[str], rounds: int) -> None:
    for _ in range(rounds):
        assert_right(open_store(folder), words)


def test_two_writers_and_two_readers_lose_and_mix_nothing(tmp_path):
    rounds = 40
    words = [f"writer {writer} word {index}" for writer in (0, 1) for index in range(rounds)]
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=write_words, args=(tmp_path, writer, rounds)) for writer in (0, 1)]
    jobs += [context.Process(target=read_words, args=(tmp_path, words, 4 * rounds)) for _ in (0, 1)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(timeout=60)
    assert [job.exitcode for job in jobs] == [0] * 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert assert_right(open_store(tmp_path), words) == len(words)


def test_threads_share_a_store(tmp_path):
    store = open_store(tmp_path)
    words = [f"word {index}" for index in range(64)]

    def work(seed: int) -> None:
        chosen = random.Random(seed).sample(words, 8)
        add(store, chosen)
        store.flush()
        assert assert_right(store, chosen) == 8

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert assert_right(open_store(tmp_path), words) == len(store)


def test_any_damage_is_noticed(tmp_path):
    words = [f"word {index}" for index in range(20)]
    store = open_store(tmp_path)
    add(store, words)
    store.flush()
    good = store.path.read_bytes()
    chance = random.Random(0)
    for _ in range(150):
        content = bytearray(good)
        match chance.randrange(4):
            case 0:
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            case 1:
                del content[chance.randrange(len(content)) :]
            case 2:
                first, second = chance.randrange(len(content) - 8), chance.randrange(len(content) - 8)
                content[first : first + 8], content[second : second + 8] = (
                    content[second : second + 8],
                    content[first : first + 8],
                )
            case 3:
                content[chance.randrange(len(content)) :] = chance.randbytes(64)
        store.path.write_bytes(content)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            count = assert_right(open_store(tmp_path), words)
        assert bytes(content) == good or count == len(words) or "ignored and rebuilt" in str(told[0].message)
    with pytest.warns(UserWarning, match="ignored and rebuilt"):
        damaged = open_store(tmp_path)
    add(damaged, words)
    with pytest.warns(UserWarning, match="ignored and rebuilt"):
        damaged.flush()
    assert assert_right(open_store(tmp_path), words) == len(words)


def test_the_rows_used_longest_ago_go_first(tmp_path):
    store = open_store(tmp_path, max_bytes=4 * (32 + 4 * WIDTH))
    add(store, ["a", "b", "c", "d"])
    assert_right(store, ["a"])
    add(store, ["e"])
    store.flush()
    for kept in (store, open_store(tmp_path, max_bytes=store.max_bytes)):
        assert len(kept) == 4
        assert assert_right(kept, ["b"]) == 0
        assert assert_right(kept, ["a", "c", "d", "e"]) == 4


def test_a_file_beyond_the_bound_is_not_read(tmp_path):
    store = open_store(tmp_path, max_bytes=2**10)
    store.path.write_bytes(bytes(2**20))
    with pytest.warns(UserWarning, match="1048576 bytes, more than"):
        assert len(open_store(tmp_path, max_bytes=2**10)) == 0


def test_copies_and_pickles_start_from_the_file(tmp_path):
    store = open_store(tmp_path)
    add(store, ["a"])
    store.flush()
    for twin in (copy.deepcopy(store), pickle.loads(pickle.dumps(store))):
        assert assert_right(twin, ["a"]) == 1
    assert len(copy.deepcopy(open_store(None))) == 0
