"""A sweep in the report."""

from pd.report.sweeps import sweep_chart, sweep_choice


def trial(number, kept, excess):
    return {"number": number, "kept": kept, "excess": excess, "excess_low": excess - 0.01, "excess_high": excess + 0.01}


def test_the_best_trials_are_joined_and_the_chosen_stands_out():
    sweep = {"pareto": [trial(3, 0.6, 0.2), trial(1, 0.2, 0.0)], "chosen": trial(1, 0.2, 0.0), "as_it_is": trial(0, 0.5, 0.3)}
    found = sweep_chart(sweep)
    assert found.lines[0].points == [(0.2, 0.0), (0.6, 0.2)]
    assert [mark.label for mark in found.marks] == ["", "", "settings as they were", "chosen"]
    assert found.rows[-1] == ["chosen (trial 1)", "20.0 %", "0.0 %", "−1.0 % to 1.0 %"]


def test_no_sweep_or_one_without_figures_is_no_plot():
    assert sweep_chart(None) is None
    assert sweep_chart({"pareto": [{"kept": 0.2, "excess": None}], "chosen": "x"}) is None


def test_the_choice_is_told_in_sentences():
    assert sweep_choice({"words": ["2 of 3 keep it", "the best looks better than it is"]}) == (
        "2 of 3 keep it. The best looks better than it is."
    )
    assert sweep_choice(None) == ""
