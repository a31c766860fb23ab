"""Scores, calibration, the gate and the report."""
