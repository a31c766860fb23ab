"""The store on a laptop: one SQLite file."""
