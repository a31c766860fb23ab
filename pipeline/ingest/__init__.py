"""Files of posts -> the bytes of records: feeds, JSON, CSV."""
