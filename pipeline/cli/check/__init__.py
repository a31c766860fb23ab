"""`opinionwatch check`."""
