"""Progress bars on standard error; they appear only on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress

from pipeline.cli.terminal import err


def progress_bar() -> Progress:
    """A bar that disappears when it ends."""
    return Progress(console=err, transient=True, disable=not err.is_terminal)


@contextmanager
def posts_bar() -> Iterator[Callable[[int], None]]:
    """A bar for posts; call the function that it gives with the number of posts done since the last call."""
    with progress_bar() as bar:
        task = bar.add_task("posts", total=None)
        yield lambda done: bar.update(task, advance=done)
