"""Tables and figures of stored results; nothing here computes anything else."""
