from pd.filters.leak_quantile import Row, as_json, choose


def _rows(*ends):
    return [Row(q, 0.9 - i / 10, end and end - 0.01, end, "thumbnails", 0.8) for i, (q, end) in enumerate(ends)]


def test_the_loosest_that_reaches_the_target():
    found = choose(_rows((0.99, 0.2), (0.9, 0.009), (0.8, -0.01)), 0.01)
    assert (found.quantile, found.reached) == (0.9, True)
    assert "keeps 80%" in found.words


def test_where_none_does_the_loosest_of_the_lowest_and_it_is_said():
    found = choose(_rows((0.99, 0.2), (0.9, 0.034), (0.8, 0.031), (0.7, 0.05), (0.6, None)), 0.01)
    assert (found.quantile, found.reached) == (0.9, False)  # 0.8 is lower by chance
    assert found.words.startswith("no quantile reaches filter.target_excess = 0.01; the nearest: quantile 0.9 keeps 80%")


def test_nothing_kept_says_nothing():
    assert choose(_rows((0.9, None)), 0.01) is None
    assert choose([], 0.01) is None


def test_rows_survive_json():
    rows = _rows((0.9, 0.02), (0.8, None))
    assert [Row.of(row) for row in as_json(rows)] == rows
