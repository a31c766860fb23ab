"""What people say of posts: queue, statistics, relabelling, rows for retraining."""
