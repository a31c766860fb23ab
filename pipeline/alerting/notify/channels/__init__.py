"""The channels: one file per kind, and what they share."""
