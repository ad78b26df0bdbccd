"""People's names in text to be released."""

import pytest

from pd.release.real_names import RealNames


@pytest.mark.parametrize(
    ("name", "text", "page", "found"),
    [
        ("s12", "samples of s12.", False, 1),
        ("s12", "samples of s120", False, 0),
        ("anna_smith", '{"worst": [["anna_smith", 0.9]]}', False, 1),
        ("anna", '{"anna": 1}', False, 1),
        ("anna", "| anna | 0.9 |", False, 1),
        ("will", "It will not do.", False, 0),
        ("anna", "<td> anna </td>", True, 1),
        ("h1", "<style>h1 { margin: 0 }</style><h1>x</h1>", True, 0),
        ("p7", '<img alt="Real picture of p7">', True, 1),
        ("Anna Smith", "the pictures of Anna Smith", False, 1),
        ("12", "12 of 40", False, 0),
    ],
)
def test_names_are_found_where_they_can_be_told_from_words(name, text, page, found):
    assert RealNames([name]).in_text(text, page) == found
