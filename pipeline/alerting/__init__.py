"""The alert role: counts from the store, the rule, episodes, notifications."""
