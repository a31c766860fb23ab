"""Rows, examples and batches."""
