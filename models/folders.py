"""Folders that only this user may write to, so that we load only files that we wrote."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path

from models.tuning import cache_folder

log = logging.getLogger(__name__)


def private_folder(path: Path) -> Path:
    """Creates `path` for this user alone, or closes this user's existing folder to others.

    Raises `OSError` where it cannot create the folder, or where `path` is a link or belongs to another user.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(f"{path} is a link, is not a folder, or belongs to another user") from None
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            path.chmod(0o700)
    return path


def private_cache(name: str) -> Path:
    """The private folder `name` in the user's cache, or a temporary folder of this process where that fails."""
    try:
        return private_folder(private_folder(cache_folder()) / name)
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        return _temporary(name, str(error))


@cache
def _temporary(name: str, reason: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"opinionwatch-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    log.warning("this user has no private cache folder (%s); this process uses the temporary folder %s", reason, folder)
    return folder
