"""Linear probes: logistic regression on features, solved to a stated tolerance."""
