"""Programs that make something once, for the project itself."""
