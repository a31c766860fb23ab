"""The classify role: bytes of a record -> labelled post in the index."""
