"""The rows of an audit: counts, checks, bins, scores."""
