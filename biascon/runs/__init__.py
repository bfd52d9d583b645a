"""A run on disk: its folder, its records and its checkpoints."""
