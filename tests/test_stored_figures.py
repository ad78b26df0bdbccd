"""Figures stored by benchmarks keep to the rules of today's audit."""

import json

from terminal import ROOT


def test_a_stored_headline_ends_where_the_highest_interval_of_any_attacker_ends() -> None:
    stored = json.loads((ROOT / "benchmarks" / "results" / "privacy.json").read_text(encoding="utf-8"))["figures"]
    for found in stored["arms"].values():
        for reid in (one["reid"] for one in found):
            assert reid["excess"]["high"] == max(by["excess"]["high"] for by in reid["by_attacker"].values())
