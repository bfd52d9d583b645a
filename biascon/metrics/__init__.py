"""Metrics as pure functions of the label x bias x prediction counts, with their intervals."""
