"""Kafka: strict consuming, writing, administration, and the embedded broker of the demo."""
