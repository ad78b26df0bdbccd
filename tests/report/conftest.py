"""The run that pages are made of, and the browser that shows them."""

import shutil

import pytest
from reported import captions, faces, report_data, whole_data  # noqa: F401 - fixtures

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")


def pytest_collection_modifyitems(items):
    if CHROMIUM and CHROMEDRIVER:
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason="Debian's chromium and chromium-driver are not installed"))


def pytest_terminal_summary(terminalreporter):
    if not (CHROMIUM and CHROMEDRIVER):
        terminalreporter.section("browser", sep="!")
        terminalreporter.line(
            "NOT TESTED: the report in a real browser. Debian's chromium and chromium-driver are not installed "
            "(apt-get install chromium chromium-driver)."
        )
