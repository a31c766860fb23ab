"""Offline fine-tuning: data, vocabulary, training loop, calibration, export. Extra `train`."""
