"""The errors of reading a bundle."""

from __future__ import annotations


class BundleError(ValueError):
    """The bundle is invalid or untrusted; the message names the file or field and the reason."""


class BundleUnreadableError(BundleError):
    """The system failed to read the bundle (permissions, a disk error), so that nothing is known of its content."""
