"""Small helpers that know nothing of biases, losses or datasets."""
