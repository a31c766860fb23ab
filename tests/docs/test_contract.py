"""docs/contract.md names exactly the fields that are written and read, and its example of Python runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pipeline.classify.codec import decode
from pipeline.domain.errors import EXIT_BUG, EXIT_CONFIG, EXIT_UNAVAILABLE, EXIT_USAGE
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import Origin, Record
from pipeline.domain.progress import Progress
from pipeline.settings.renamed import RENAMED
from pipeline.store.elasticsearch.templates import Layout, templates
from tests.builders import as_dict
from tests.docs.pages import ROOT, blocks
from training.renamed import RENAMED_TABLES, RENAMED_TRAIN

PAGE = ROOT / "docs" / "contract.md"
SECTIONS = dict(zip(*[iter(re.split(r"^## (.+)$", PAGE.read_text("utf-8"), flags=re.M)[1:])] * 2, strict=True))


def named(section: str) -> set[str]:
    """The code spans of the first column of a section's table."""
    cells = re.findall(r"^\| (`.+?) \|", SECTIONS[section], re.M)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def mapped(properties: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in properties.items():
        if "properties" in value:
            yield from mapped(value["properties"], f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.mark.parametrize(
    ("section", "index"),
    [
        ("A post document", "opinion-posts"),
        ("An alert document", "opinion-alerts"),
        ("An annotation", "opinion-labels"),
    ],
)
def test_the_page_names_every_field_of_an_index(section: str, index: str) -> None:
    mapping = as_dict(templates("standard", 0, Layout("month"))[index].properties)
    assert named(section) == set(mapped(mapping))


def test_the_page_names_every_field_of_progress() -> None:
    assert named("Progress") == {field.name for field in fields(Progress)}


def test_the_example_of_a_post_has_every_field_and_is_read_whole() -> None:
    [example] = [b.text for b in blocks(PAGE) if b.language == "json"]
    keys = set(re.findall(r'"(\w+)":', example))
    assert keys == named("A post")
    post = decode(Record(Origin("opinion.forum", 0, 0), 1_795_500_000_000, example.encode()))
    assert (post.native_id, post.kind, post.likes, post.ignored, post.extra) == ("49021", "forum", 10, (), {})


def test_the_page_names_every_exit_code() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", SECTIONS["Exit codes"], re.M)}
    assert codes == {0, EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_BUG, EXIT_CONFIG}


def test_the_example_of_python_gives_a_sensible_answer() -> None:
    [example] = [b.text for b in blocks(PAGE) if b.language == "python"]
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["positive", "negative"]


def test_the_changelog_lists_every_name_that_has_a_former_name() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8").partition("### Renamed")[2].partition("###")[0]
    rows = dict(re.findall(r"^\| [^|]+ \| `\[*([\w.]+)\]*` \| `\[*([\w.]+)\]*`", text, re.M))
    metrics = CollectorRegistry()
    Metrics(metrics)
    former = {
        f.name: f.documentation.split()[-1] for f in metrics.collect() if f.documentation.startswith("Former name")
    }
    recipes = {old: new for old, (new, _) in RENAMED_TRAIN.items()} | RENAMED_TABLES
    assert RENAMED | recipes | former
    assert (RENAMED | recipes | former).items() <= rows.items()
