"""The instruments on sets whose truth is known: what leaks is found, what does not is not."""

import numpy as np
import pytest
from random_people import attack, people

from pd.audit.run import audit
from pd.config import AuditSettings
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset


@pytest.mark.parametrize("strangers", [10, 20])
@pytest.mark.parametrize(("identities", "images"), [(400, 1), (40, 10)], ids=["a picture each", "ten of each"])
def test_unrelated_people_are_covered_95_times_in_100(identities: int, images: int, strangers: int) -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        members, holdout = people(rng, 20, 10), people(rng, strangers, 10)
        samples = people(rng, identities, images).rows
        found.append(attack(samples, members, holdout, seed=int(rng.integers(2**31))).excess)
    assert sum(excess.low <= 0 <= excess.high for excess in found) >= 95
    assert sum(excess.low > 0 for excess in found) <= 4  # a leak where there is none


def test_the_real_holdout_set_against_itself_finds_nothing(orl: PrivateDataset) -> None:
    """All hold-out people split anew: half of them are called members, and samples are the rest of the hold-out set."""
    held = orl.holdout()
    names = sorted(set(held.identities))
    called = set(names[::2])
    splits = ["member" if name in called else "holdout" for name in held.identities]
    nobody = PrivateDataset(held.ids, held.images, held.identities, splits, held.captions, held.labels)  # type: ignore[arg-type]
    rest = nobody.holdout_half("calibration", 7)
    samples = SyntheticDataset(rest.ids, rest.images, [""] * len(rest), {})
    settings = AuditSettings(attackers=("thumbnails", "whitened"), attacker_steps=30, bootstrap=200)
    arm = audit(nobody, {"synthetic": samples}, None, settings, 7).as_json()["arms"]["synthetic"]
    for found in arm["reid"]["by_attacker"].values():
        assert found["excess"]["low"] <= 0
    assert arm["extraction"]["excess"]["low"] <= 0
    assert arm["attributes"]["hidden_half"]["advantage"]["low"] <= 0
