"""The demo: a generated feed with a crisis, played through the real workers in one process, and its live view."""
