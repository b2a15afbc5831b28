"""Other ways to make a rank-2 tensor, on the same crystals, splits and metrics as DTNet (the paper's Table 2).

Networks, trained from random weights (`network`, `painn`, `m3gnet`, `tensor_field`), and references that need seconds
(`references`). `experiment` trains, tests and records them, `search` chooses learning rates, `price` measures what an epoch
takes, and `plan` puts the three together. Command line: ``dtnet baselines --help``.
"""

from __future__ import annotations

from .experiment import MODELS, NETWORKS, TRAIN, BaselineExperiment, Shared, run_baseline
from .references import REFERENCES

__all__ = ["MODELS", "NETWORKS", "REFERENCES", "TRAIN", "BaselineExperiment", "Shared", "run_baseline"]
