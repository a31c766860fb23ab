"""Counts per key and bucket, the watermark up to which they are complete, and source outages."""
