"""An open reproduction of DTNet: dielectric tensors of crystals from the features of a pretrained potential.

The core, to be read in this order: `encoder` (crystal -> equivariant features), `features`, `readout` (features -> tensor,
with its `layers` and `links`), `metrics` (tensors -> errors), `ensemble` (trained networks, tensors with intervals;
`judge` doubts them, `checkpoint` keeps them). Around it: `crystals`, `potentials`, `data`, `training`; the paper's chapters `baselines`,
`matbench`, `screening`, `dfpt`; `report` (tables and figures), `run` (notebooks in batch, the command line), `teaching`, and `base`.
"""

from importlib import import_module

__version__ = "0.1.0"

_PUBLIC = {
    "DTNet": "ensemble", "Ensemble": "ensemble", "Prediction": "ensemble", "load_ensemble": "ensemble",
    "Features": "features", "Encoder": "encoder", "encode": "encoder", "load_encoder": "potentials.registry",
    "read_structure": "crystals.sources", "predict_charges": "physics.born", "BornCharges": "physics.born", "tensor_metrics": "metrics", "mae_ten": "metrics",
    "scalar_constant": "metrics", "eigenvalues": "metrics", "anisotropy_ratio": "metrics", "figure_of_merit": "metrics",
}  # fmt: skip
"""Public name -> its module; imported when first asked for, as some take seconds."""

__all__ = [*_PUBLIC]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"dtnet_core has no {name!r}; it has {', '.join(_PUBLIC)}")
    return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
