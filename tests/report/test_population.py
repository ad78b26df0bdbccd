"""A report on thousands of people is as quick and as small as one on twenty."""

import dataclasses
import time

import numpy as np

from pd.report.data import Counts
from pd.report.html import render_report


def test_five_thousand_people_render_in_a_second_of_computing_and_take_less_than_five_megabytes(report_data, tmp_path):
    rng = np.random.default_rng(0)
    people, candidates = 5000, 50_000
    some = rng.integers(0, len(report_data.candidates.ids), candidates)
    old, ids = report_data.candidates, [f"c{row:06d}" for row in range(candidates)]
    many = dataclasses.replace(
        old,
        ids=ids,
        scores=old.scores[some] + rng.normal(0, 0.01, candidates).astype(np.float32),
        nearest=[old.nearest[row] for row in some],
        keep=old.keep[some],
        reasons=[old.reasons[row] for row in some],
        images={name: old.images[old.ids[row]] for name, row in zip(ids, some, strict=True)},
    )
    data = dataclasses.replace(
        report_data,
        counts=Counts(people, people, 4 * people, 4 * people, 0),
        candidates=many,
        stranger_scores=rng.normal(0.4, 0.1, 4 * people).astype(np.float32),
        member_scores=rng.normal(0.8, 0.1, 4 * people).astype(np.float32),
        identity_of={**report_data.identity_of, **{f"more{row}": f"p{row // 4}" for row in range(4 * people)}},
    )
    begin = time.process_time()
    render_report(data, tmp_path / "report.html")
    assert time.process_time() - begin < 2.0  # a second on a machine of its own
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
