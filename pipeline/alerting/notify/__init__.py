"""Channels that tell people of an alert's transition."""
