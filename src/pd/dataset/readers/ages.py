"""Ages as DICOM writes them (PS3.5, 6.2), which tables made of its headers keep."""

_A_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


def years_of(word: str) -> int | None:
    """Whole years of an age such as 045Y or 011M; None for what is none."""
    if word[-1:] in _A_YEAR and word[:-1].isdecimal():
        return int(int(word[:-1]) / _A_YEAR[word[-1]])
    return None
