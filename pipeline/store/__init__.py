"""Where posts, alerts and progress live: one protocol, Elasticsearch for real, SQLite for a laptop."""
