"""The report: finished runs -> groups that may be compared -> Markdown, LaTeX, a figure, CSV."""
