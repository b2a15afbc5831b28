"""Matbench's refractive index: the task, the learners, the stack of them, and the scores."""
