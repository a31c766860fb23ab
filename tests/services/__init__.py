"""Real services without Docker: Kafka and Elasticsearch from their published artifacts."""
