"""Annotations by people: the queue, their statistics, relabelling of posts, rows for retraining."""
