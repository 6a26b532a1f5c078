"""The pages of docs/: their code runs, what they name is there."""

import ast
import re
from pathlib import Path

import pytest
from support import run

import gzmqhelper as zmq

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))


def code_of(page):
    """All that a reader would paste, in its order, with the lines where they are on the page."""
    lines = [""] * 2000
    inside = False
    for number, line in enumerate(page.read_text().splitlines()):
        if line.startswith("```"):
            inside = line == "```python"
        elif inside:
            lines[number] = line
    return "\n".join(lines).rstrip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs_from_its_beginning_to_its_end(page):
    code = code_of(page)
    ast.parse(code)
    finished = run(
        "import sys, pathlib; exec(compile(sys.argv[1], sys.argv[2], 'exec'), {'__name__': '__main__'})",
        code,
        page.name,
    )
    assert (finished.stdout, finished.stderr) == ("", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_that_a_page_has_is_there(page):
    named = set(re.findall(r"`zmq\.(\w+)", page.read_text()))
    assert "Context" in named
    assert {name for name in named if not hasattr(zmq, name)} - {"green", "asyncio", "sugar", "auth"} == set()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_links_between_the_pages_lead_somewhere(page):
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
    assert [link for link in linked if not (page.parent / link).exists()] == []


def test_the_readme_leads_to_every_page():
    text = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES if f"docs/{page.name}" not in text] == []
