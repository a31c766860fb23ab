"""The console: a page for the operations team, and its JSON API."""
