"""The configuration of a run: sections, presets and settings."""
