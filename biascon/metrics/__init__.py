"""Metrics as pure functions of the table of counts (label x bias x prediction), with intervals."""
