"""Readers of files that people and tools write: CSV, JSON, JSON Lines, annotation exports."""
