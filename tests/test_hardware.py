from collections.abc import Iterator

import pytest

from pd import hardware


@pytest.fixture(autouse=True)
def _ask_anew() -> Iterator[None]:
    hardware.multiplies_bfloat16.cache_clear()
    yield
    hardware.multiplies_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("flags", "quick"),
    [({"avx512f", "amx_bf16"}, True), ({"avx512f", "avx512_bf16"}, True), ({"avx512f", "amx_tile"}, False), (set(), False)],
)
def test_bfloat16_is_quick_where_there_are_instructions_for_it(
    flags: set[str], quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_flags", lambda: frozenset(flags))
    assert hardware.multiplies_bfloat16() is quick
