"""Everything in one process: a generated feed with a crisis in it, and a view of what becomes of it."""
