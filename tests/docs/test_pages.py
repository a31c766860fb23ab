"""What the pages name is there: files, links, anchors, decisions, and a runbook section for every alerting rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import ROOT, anchors, blocks, links, pages, prose, slug, spans

#: Folders of the repository whose files a page may name.
_FOLDERS = ("pipeline", "models", "training", "tests", "benchmarks", "tools", "deploy", "docs")
_FILE = re.compile(rf"^(?:{'|'.join(_FOLDERS)})(?:/[\w.-]+)+/?(?:::\w+)?$")
#: Older entries name files by the names that they had.
_HISTORY = {"CHANGELOG.md"}
_ADR = ("Status", "Date")
_ADR_SECTIONS = ("Context", "Decision", "Alternatives", "Consequences")
#: Words that the pages gave up; docs/glossary.md has those that took their place.
_FORMER_WORDS = (
    "of which|anew|is told|are told|so many|whoever|mends?|mended|tellers?|labellers?|labelbook|"
    "blind|muted by|bur(?:y|ies|ied)|the books"
)
_SPAN = re.compile(r"`[^`\n]+`")
NAMES = [str(page.relative_to(ROOT)) for page in pages()]
DECISIONS = sorted((ROOT / "docs" / "adr").glob("0*.md"))


@pytest.mark.parametrize("name", NAMES)
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    page = ROOT / name
    broken = []
    for link in links(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("name", [n for n in NAMES if n not in _HISTORY])
def test_every_file_that_a_page_names_exists(name: str) -> None:
    missing = []
    for span in spans(ROOT / name):
        if _FILE.match(span):
            path, _, test = span.partition("::")
            if not (ROOT / path).exists() or (test and f"def {test}" not in (ROOT / path).read_text("utf-8")):
                missing.append(span)
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_no_page_names_what_lies_outside_of_the_repository(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert not re.findall(r"\.\./shared|/work/|the audit\b(?! trail)|(?<![&\w])issue #?\d+", text)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in _HISTORY and not n.startswith("docs/reference/")])
def test_a_page_uses_the_words_of_the_field(name: str) -> None:
    assert not re.findall(rf"(?i)\b(?:{_FORMER_WORDS})\b", _SPAN.sub("", prose(ROOT / name)))


def test_every_start_file_of_a_room_exists() -> None:
    rows = re.findall(r"^\| `([\w/]+/)` \|.*\| `([\w.]+)` \|$", prose(ROOT / "docs" / "architecture.md"), re.M)
    assert len(rows) > 15
    assert [room + file for room, file in rows if not (ROOT / room / file).exists()] == []


def test_every_room_is_in_the_architecture() -> None:
    named = set(spans(ROOT / "docs" / "architecture.md"))
    rooms = {
        p for top in ("pipeline", "pipeline/alerting") for p in (ROOT / top).iterdir() if (p / "__init__.py").exists()
    }
    assert {f"{room.relative_to(ROOT)}/" for room in rooms} - named == set()


@pytest.mark.parametrize("page", DECISIONS, ids=lambda p: p.stem[:4])
def test_a_decision_has_the_form_of_decisions(page: Path) -> None:
    text = page.read_text("utf-8")
    assert re.match(rf"# {int(page.name[:4])}\. \S", text)
    for field in _ADR:
        assert re.search(rf"^\*\*{field}:\*\* \S", text, re.M), field
    assert re.findall(r"^## (.+)$", text, re.M) == list(_ADR_SECTIONS)


def test_the_list_of_decisions_is_complete() -> None:
    assert set(links(ROOT / "docs" / "adr" / "index.md")) >= {page.name for page in DECISIONS}


def test_every_alerting_rule_leads_to_its_section_of_the_runbook() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text("utf-8"))
    found = {r["alert"]: r["annotations"] for group in rules["groups"] for r in group["rules"]}
    assert len(found) > 10
    sections = anchors(ROOT / "docs" / "operations.md")
    for name, texts in found.items():
        assert slug(name) in sections
        assert texts["runbook_url"] == f"docs/operations.md#{slug(name)}"


def test_every_block_of_a_page_says_its_language() -> None:
    unnamed = [str(block) for page in pages() for block in blocks(page) if not block.language]
    assert not unnamed
    indented = [n for n in NAMES if re.search(r"^\n(?: {4}|\t)(?!\s*(?:[-*]|\d+\.) )\S", prose(ROOT / n), re.M)]
    assert not indented, "indented blocks of code cannot be told from text: fence them"
