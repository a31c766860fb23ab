"""Reading rows from files that people and tools wrote: CSV, JSON, JSON Lines, annotation exports."""
