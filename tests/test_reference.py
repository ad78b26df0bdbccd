"""The generated pages of docs/ are those of this code; README and docs name commands, options and settings that exist."""

import re
from pathlib import Path

import pytest
import typer

from pd.cli.app import app
from pd.cli.reference import commands_page, errors_page, settings_page
from pd.config.load import section_keys

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "cluster/README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_command(app).commands


def test_the_generated_pages_are_up_to_date():
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == settings_page(), "run `make docs`"
    assert (ROOT / "docs/commands.md").read_text(encoding="utf-8") == commands_page(), "run `make docs`"
    assert (ROOT / "docs/errors.md").read_text(encoding="utf-8") == errors_page(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
        assert "://" in link or (page.parent / link).exists(), link


def lines_of_commands(page):
    """(command, words) of each line in a block that begins with pd, without comments."""
    for block in re.findall(r"```\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        for line in block.splitlines():
            words = line.split(" #")[0].split()
            if len(words) > 1 and words[0] == "pd":
                yield words[1], words[2:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_blocks_exist_with_their_options(page):
    for name, words in lines_of_commands(page):
        assert name in COMMANDS, name
        known = {opt for one in COMMANDS[name].params for opt in (*one.opts, *one.secondary_opts)}
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in known, (name, word)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_are_set_exist(page):
    keys = set(section_keys())
    for key in re.findall(r"--set ['\"]?([a-z_]+(?:\.[a-z_]+)+)=", page.read_text(encoding="utf-8")):
        assert key in keys, key


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100
