"""Pages that run, fetch or embed something are found."""

import pytest

from pd.release.pages import page_fault


@pytest.mark.parametrize(
    "page",
    [
        "<script>alert(1)</script>",
        "<IMG src=x>",
        '<p onclick="x()">a</p>',
        '<a href="https://example.com/?q=secret">a</a>',
        '<link rel="stylesheet" href="style.css">',
        "<style>@import 'x'</style>",
        "<style>p { background: URL (x) }</style>",
        '<p style="background:url(x)">a</p>',
        '<svg><use xlink:href="x.svg#a"/></svg>',
        '<meta http-equiv="refresh" content="0;url=x">',
        "<form><input></form>",
    ],
)
def test_active_pages_are_refused(page):
    assert page_fault(page)


def test_words_and_drawings_pass():
    page = '<link rel="icon" href="data:,"><style>p { color: red }</style><a href="#x">only = 1 url(x)</a>'
    assert page_fault(page + '<svg><path d="M0 0"/></svg>') is None
