"""Write a dataset folder from its source: plan, decode in chunks, resume, save."""
