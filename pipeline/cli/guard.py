"""Exit codes: an expected error becomes one line with its remedy, any other error is reported as a bug."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.domain.errors import EXIT_BUG, EXIT_UNAVAILABLE, Fatal, Transient

_RIGHTS = "give this user the right to use it, or choose another place"
_SPACE = "free space there"
#: Error number of the operating system -> remedy.
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
    errno.EIO: "check that disk",
}


def shortage(error: Exception) -> Fatal | None:
    """A `Fatal` where the machine lacks memory, descriptors, space or a permission, which is not a bug; else None."""
    if isinstance(error, MemoryError):
        return Fatal(
            "memory is exhausted", "give this process more memory, or lower flow.batch_records", EXIT_UNAVAILABLE
        )
    if not isinstance(error, OSError) or error.errno not in _SHORTAGES:
        return None
    file = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return Fatal(f"the operating system refused: {error.strerror}{file}", _SHORTAGES[error.errno], EXIT_UNAVAILABLE)


def guarded(command: Callable[[], None]) -> int:
    """Runs a command line and returns its exit code; only a bug is reported by its place in the code."""
    try:
        command()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except Fatal as error:
        return _report(str(error), error.exit_code)
    except Transient as error:
        remedy = "" if error.remedy else "; start that service or correct its address in the settings"
        return _report(f"{error}{remedy}", EXIT_UNAVAILABLE)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if lack := shortage(error):
            return _report(str(lack), lack.exit_code)
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else "?"
        return _report(f"a bug: {type(error).__name__} at {where}; please report it", EXIT_BUG)
    return 0


def _report(message: str, exit_code: int) -> int:
    from models.text import clean

    sys.stderr.write(clean(f"opinionwatch: {message}\n"))
    return exit_code
