"""Readouts trained on stored features: sets in memory, the optimiser's loop, experiments, joint models and what ships."""
