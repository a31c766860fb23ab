"""Programs from Debian's packages that some tests need: installed where the machine lets us."""

from __future__ import annotations

import os
import shutil
import subprocess

from .artifacts import ServiceError


def program(name: str, package: str) -> str:
    """The path of a program, after installing its package where it is missing and we are root."""
    if (found := shutil.which(name)) is not None:
        return found
    if os.getuid() == 0 and shutil.which("apt-get"):
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", package]):
            subprocess.run(["apt-get", *command], capture_output=True, timeout=300, check=False)
    if (found := shutil.which(name)) is None:
        raise ServiceError(f"{name} is not installed: apt-get install {package}")
    return found
