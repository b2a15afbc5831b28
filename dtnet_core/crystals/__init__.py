"""Crystals at the door: read, validated, their symmetry and frame, and the record of one with its tensors."""
