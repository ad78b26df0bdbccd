from pd.seeds import derive


def test_seeds_follow_from_the_run_and_the_part() -> None:
    assert derive(7, "teacher") == derive(7, "teacher")
    assert len({derive(seed, part) for seed in range(50) for part in ("teacher", "student", "reid")}) == 150
    assert all(0 <= derive(seed, "x") < 2**31 for seed in range(200))
    # names are kept apart, not glued together
    assert derive(1, "ab", "c") != derive(1, "a", "bc")
