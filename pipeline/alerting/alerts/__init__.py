"""The alert as a document: evidence, terms, and how it is shown."""
