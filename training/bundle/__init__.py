"""Trained weights -> a bundle."""
