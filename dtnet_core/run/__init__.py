"""The kit from outside: notebooks in batch, and the command line."""
