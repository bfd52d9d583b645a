"""The subcommands, one a file: parse, one call, print. Only click is imported before a call."""
