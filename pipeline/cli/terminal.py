"""Output to a terminal: texts of posts, headers and files must not steer it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment


class Terminal(Console):
    """A console that prints its own styles and drops control and format characters from the text that it prints."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                from models.text import clean

                yield Segment(clean(segment.text), segment.style)


out = Terminal(highlight=False, soft_wrap=True)
err = Terminal(stderr=True, highlight=False, soft_wrap=True)


def json_text(value: object) -> str:
    """JSON on one line with Chinese unescaped; characters that nobody can see are escaped.

    >>> json_text({"a": "诺\\x9b\\u202e\\u3000"})
    '{"a": "诺\\\\u009b\\\\u202e\\u3000"}'
    """
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(_escaped(c) for c in text)


def _escaped(character: str) -> str:
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return json.dumps(character)[1:-1]
    return character
