"""The console: a page for the operations team and the JSON behind it."""
