"""The report: finished runs, grouped into experiments, as a web page, Markdown, LaTeX and tables."""
