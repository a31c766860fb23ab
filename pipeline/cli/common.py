"""What every command shares: options, settings, and errors as one line with the remedy and the right exit code."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from models.text import clean
from pipeline.cli.terminal import Terminal, json_text
from pipeline.domain.errors import EXIT_BUG, EXIT_UNAVAILABLE, Fatal, Transient
from pipeline.settings import Resolved, Settings, resolve

log = logging.getLogger(__name__)
_RIGHTS = "give this user the right to it, or another place"
_SPACE = "free space there"
#: By the system's number: what to do.
_SHORTAGES = {
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files of this machine",
    errno.ENOMEM: "give this process more memory",
    errno.EAGAIN: "raise the limit of processes (ulimit -u), or give this process more memory",
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EROFS: _RIGHTS,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EIO: "look at that disk",
}
out = Terminal(highlight=False, soft_wrap=True)
err = Terminal(stderr=True, highlight=False, soft_wrap=True)

Config = Annotated[Path | None, typer.Option("--config", help="Settings file (default: opinionwatch.toml).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value on standard output, for machines.")]


def settings_of(config: Path | None, **flags: Any) -> Settings:
    """Flags are dotted keys with `__` for the dot; None means not given."""
    return resolved(config, **flags).settings


def resolved(config: Path | None, **flags: Any) -> Resolved:
    return resolve(config, {key.replace("__", "."): value for key, value in flags.items()})


@contextmanager
def posts_bar() -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; call what it gives with the posts done since the last call."""
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("posts", total=None)
        yield lambda done: bar.update(task, advance=done)


def print_json(value: Any) -> None:
    """To standard output, Chinese as it is."""
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()


def shortage(error: Exception) -> Fatal | None:
    """What the machine lacks, which is no bug: memory, descriptors, space, a right; None for any other error."""
    if isinstance(error, MemoryError):
        return Fatal("memory is exhausted", "give this process more, or lower flow.batch_records", EXIT_UNAVAILABLE)
    if not isinstance(error, OSError) or error.errno not in _SHORTAGES:
        return None
    what = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return Fatal(f"the system refuses: {error.strerror}{what}", _SHORTAGES[error.errno], EXIT_UNAVAILABLE)


def guarded(command: Callable[[], None]) -> int:
    """Runs a command line; the exit code of the contract, and no traceback for what can be expected."""
    try:
        command()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except Fatal as error:
        sys.stderr.write(clean(f"opinionwatch: {error}\n"))
        return error.exit_code
    except Transient as error:
        remedy = "" if error.remedy else "; start that service or correct its address in the settings"
        sys.stderr.write(clean(f"opinionwatch: {error}{remedy}\n"))
        return EXIT_UNAVAILABLE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if lack := shortage(error):
            sys.stderr.write(clean(f"opinionwatch: {lack}\n"))
            return lack.exit_code
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else "?"
        sys.stderr.write(f"opinionwatch: a bug: {type(error).__name__} at {where}; please report it\n")
        return EXIT_BUG
    return 0
