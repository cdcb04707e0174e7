"""What the docs point at is there: files, pictures, and the commands and tests of the paper's claims."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    gone = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert gone == []


def claims() -> list[list[str]]:
    """The rows of the table of the paper's claims: claim, command, test, picture."""
    text = (ROOT / "docs" / "portraits.md").read_text()
    table = text.partition("| SofGAN | command | test | picture |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


@pytest.mark.parametrize("row", claims(), ids=lambda row: row[0])
def test_every_claim_of_the_paper_has_a_command_and_a_test(row):
    _, command, tests, picture = row
    named = re.findall(r"`dressform ([^`]+)`", command)
    assert named
    assert [name for name in named if name not in COMMANDS] == []
    files = re.findall(r"`(tests/[^`]+)`", tests)
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert picture or "compared with the text" in tests


def test_the_claims_are_all_there():
    assert len(claims()) >= 14
