"""Files and names that a person with bad intent made."""
