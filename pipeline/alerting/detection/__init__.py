"""The alert rules: pure arithmetic on counts, vectorised over keys."""
