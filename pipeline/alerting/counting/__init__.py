"""Counts per key and bucket, how far they are complete, and which sources have gone silent."""
