"""`opinionwatch demo`."""
