"""Reading of predictions: files in parts, and arrays."""
