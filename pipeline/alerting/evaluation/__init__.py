"""From counts to transitions of episodes."""
