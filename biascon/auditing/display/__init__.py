"""An audit as text, HTML, LaTeX, data frames and plots."""
