"""Packed token tables."""

import pytest
import torch

from ovperc.weights.token_table import TOKEN_IDS, TOKEN_MIX, TOKEN_ROWS, TOKEN_TABLE, pack_factorised, unpack_tokens


def test_a_factorised_table_comes_back_within_its_8_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    table, mix = torch.randn(20, 6, generator=generator), torch.randn(10, 6, generator=generator)
    ids = torch.tensor([0, 3, 19])
    packed = pack_factorised(table, mix, ids)
    assert packed[TOKEN_ROWS].dtype == torch.int8
    full = unpack_tokens(packed, 20)[TOKEN_TABLE]
    torch.testing.assert_close(full[ids], (table @ mix.T)[ids], rtol=0, atol=0.1)
    others = [index for index in range(20) if index not in ids]
    assert not full[others].any()


def test_plain_rows_need_no_matrix() -> None:
    rows, ids = torch.randn(2, 4), torch.tensor([1, 2], dtype=torch.int32)
    state = unpack_tokens({TOKEN_ROWS: rows, TOKEN_IDS: ids, "text.other": torch.ones(1).half()}, 5)
    torch.testing.assert_close(state[TOKEN_TABLE][1:3], rows)
    assert state["text.other"].dtype == torch.float32 and TOKEN_MIX not in state


def test_broken_files_are_refused() -> None:
    with pytest.raises(ValueError, match="missing"):
        unpack_tokens({}, 5)
    with pytest.raises(ValueError, match="token 7"):
        unpack_tokens({TOKEN_ROWS: torch.ones(1, 2), TOKEN_IDS: torch.tensor([7])}, 5)
