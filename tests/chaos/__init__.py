"""Faults caused on purpose, and what is left afterwards. `python -m tests.chaos` runs the table."""
