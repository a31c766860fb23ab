"""The error that every reader of a bundle raises."""

from __future__ import annotations


class BundleError(ValueError):
    """The bundle is refused; the message names the file or field and the reason."""


class BundleUnreadableError(BundleError):
    """The bundle could not be read this time (permissions, a disk error): no verdict on what it holds."""
