"""Encoders that start from random weights and are trained together with the readout."""
