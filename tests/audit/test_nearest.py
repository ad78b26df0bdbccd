import numpy as np
import pytest
from random_people import people

from pd.audit import nearest
from pd.audit.nearest import Nearest


@pytest.mark.parametrize("pairs", [1, 250, 1 << 24])
def test_blocks_give_what_the_whole_matrix_gives(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_PAIRS", pairs)
    rng = np.random.default_rng(0)
    some, others = people(rng, 30, 2).rows, people(rng, 25, 4).rows
    whole = Nearest.of(some @ others.T)
    found = Nearest.in_blocks(lambda rows: some[rows] @ others.T, len(some), len(others))
    assert found.score == pytest.approx(whole.score)
    assert (found.row == whole.row).all()


def test_pairs_of_one_person_do_not_count() -> None:
    rows = people(np.random.default_rng(1), 5, 4).rows
    who = np.repeat(np.arange(5), 4)
    found = Nearest.in_blocks(lambda part: rows[part] @ rows.T, 20, 20, (who, who))
    assert (who[found.row] != who).all()
    assert (Nearest.of(rows @ rows.T).row == np.arange(20)).all()
