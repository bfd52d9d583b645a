"""Image files: decode them, or read them when they are needed."""
