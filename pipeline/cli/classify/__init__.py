"""`opinionwatch classify`."""
