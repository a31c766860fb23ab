"""The alert: how it is made from an episode, grouped, and shown."""
