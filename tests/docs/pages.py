"""The pages of the project, and what stands in them: headings, links, code spans and fenced or indented blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^(?P<fence>`{3,}|~{3,})(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=fence)\s*$", re.S | re.M)
_HEADING = re.compile(r"^#{1,6} (.+?)\s*$", re.M)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code of a page; `line` is the line of its fence, from 1."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every page in Markdown, in a stable order."""
    return [
        *sorted(ROOT.glob("*.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "models" / "starter" / "README.md",
    ]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCE.sub("", page.read_text("utf-8"))


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for match in _FENCE.finditer(text):
        yield Block(page, text.count("\n", 0, match.start()) + 1, match["language"], match["text"])


def links(page: Path) -> list[str]:
    return _LINK.findall(_SPAN.sub("code", prose(page)))


def spans(page: Path) -> list[str]:
    return _SPAN.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as the site and GitHub make them."""
    return {slug(heading) for heading in _HEADING.findall(prose(page))}


def slug(heading: str) -> str:
    """The anchor of a heading.

    >>> slug("`opinionwatch run`"), slug("Where is ...?")
    ('opinionwatch-run', 'where-is')
    """
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def commands(block: Block) -> Iterator[str]:
    r"""The commands of a shell block, each with its heredoc, without comments.

    >>> page = Path("x.md")
    >>> list(commands(Block(page, 1, "sh", "# why\nmake a  # b\ncat <<'E'\nx = 1  # y\nE\nls \\\n  -l\n")))
    ['make a', "cat <<'E'\nx = 1  # y\nE", 'ls -l']
    """
    lines = iter(re.sub(r"\\\n\s*", "", block.text).splitlines())
    for line in lines:
        command = re.sub(r"(^|\s+)#.*", "", line)
        if match := re.search(r"<<'(\w+)'", command):
            body = [command]
            while body[-1] != match[1]:
                body.append(next(lines))
            command = "\n".join(body)
        if command:
            yield command
