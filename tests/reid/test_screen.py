import numpy as np
import pytest
import torch

from pd.reid.screen import Screen, best_dtype


def adversarial(n: int, d: int, seed: int) -> torch.Tensor:
    """Unit rows whose every coordinate sits half-way between two bfloat16 numbers: the worst that rounding can do."""
    chance = np.random.default_rng(seed)
    rows = (1 + 2.0**-8) * 2.0 ** chance.integers(-3, 1, size=(n, d)) * (1 if seed % 2 else chance.choice([-1, 1], size=(n, d)))
    return torch.tensor(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("d", [1, 2, 31, 512, 2048])
@pytest.mark.parametrize("seed", range(4))
def test_no_score_is_further_off_than_the_bound(dtype: torch.dtype, d: int, seed: int) -> None:
    rows, queries = adversarial(200, d, seed), adversarial(100, d, seed + 2)
    screen = Screen(rows, dtype)
    low, bound = screen.queries(queries)
    seen = screen.look(low, 0, 200)
    exact = queries.double() @ rows.double().T
    assert (exact >= screen.surely(seen.scores.float(), bound[:, None])).all()
    assert (seen.scores.float() >= screen.needed(exact.float(), bound[:, None]) - 1e-6).all()


def test_the_bfloat16_bound_is_tight_enough_to_be_of_use() -> None:
    rows = torch.nn.functional.normalize(torch.randn(100, 512, generator=torch.Generator().manual_seed(0)), dim=1)
    _, bound = Screen(rows, torch.bfloat16).queries(rows)
    assert 0.002 < bound.max() < 0.005


@pytest.mark.parametrize("columns", [1, 63, 64, 65, 200])
def test_groups_find_every_score_that_reaches_the_limit(columns: int) -> None:
    generator = torch.Generator().manual_seed(columns)
    rows = torch.nn.functional.normalize(torch.randn(columns + 5, 8, generator=generator), dim=1)
    queries = torch.nn.functional.normalize(torch.randn(30, 8, generator=generator), dim=1)
    screen = Screen(rows, torch.float32)
    seen = screen.look(queries, 5, columns + 5)
    limit = torch.linspace(-1, 0.9, 30)
    query, column = seen.at_least(limit)
    found = torch.zeros(30, columns, dtype=torch.bool)
    found[query, column] = True
    assert torch.equal(found, seen.scores >= limit[:, None])
    assert len(query) == int(found.sum())


def test_the_process_may_have_lowered_float32_precision() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        rows, queries = adversarial(50, 512, 1), adversarial(50, 512, 3)
        screen = Screen(rows, torch.float32)
        low, bound = screen.queries(queries)
        off = (screen.look(low, 0, 50).scores - queries.double() @ rows.double().T).abs()
        assert (off <= bound[:, None]).all()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(("quick", "chosen"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_only_where_the_processor_multiplies_it(
    quick: bool, chosen: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pd.reid.screen.multiplies_bfloat16", lambda: quick)
    assert best_dtype(torch.device("cpu")) == chosen
