"""`opinionwatch train`, `evaluate`, `export`, `noise` and `retrain`; they need the extra `train`."""
