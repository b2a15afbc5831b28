"""An open reproduction of DTNet: dielectric tensors of crystals from the features of a pretrained potential.

The core: `encoder` (crystal -> equivariant features), `readout` (features -> tensor), `metrics` (tensor -> errors).
Beside it: `data` and `cleaning` (records), `store` (features on disk), `dataset` and `training`, `experiment` (all of
it in one call), `figures`, `download` (Materials Project), `dfpt` (open DFPT), `batch` (the notebooks).
"""

__version__ = "0.1.0"
