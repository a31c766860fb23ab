"""`opinionwatch run`."""
