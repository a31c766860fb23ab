"""Programs that measure the figures of the documents."""
