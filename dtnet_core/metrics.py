"""Error measures of predicted dielectric tensors and quantities derived from them (Eqs. 2-6, Table 1).

Everything takes and returns NumPy; torch tensors are accepted. Tensors are dimensionless, Cartesian, in the
frame of their structure, reference first. Errors are averaged over a batch of B crystals.

What Eq. 3 as printed means
---------------------------
Equation 3 averages over the six elements of the upper triangle, so MAE_ten = (MAE_diag + MAE_off-diag) / 2.
For a cubic crystal, whose prediction is a multiple of the identity, this makes MAE_ten exactly half of
MAE_mean-diag. The paper's sentence that the two are the same for the cubic system does not hold for Eq. 3;
with Eqs. 3-5 it is MAE_diag that equals MAE_mean-diag there. The printed numbers fit the factor 1/6: MAE_ten
over eigenvalue MAE is 1.911 / 3.740 = 0.51, and Eq. 3 gives 0.50-0.52 on open data for predictors from a
constant to a forest, the mean over all nine elements 0.34-0.37, the mean over the diagonal nearly 1. So Eq. 3
is implemented as printed.

MAE_ten, RMSE_ten, MAE_diag and MAE_off-diag depend on the orientation of the crystals, the others do not. The
paper's zero off-diagonal elements hold in the standard axes of `dtnet_core.crystals.symmetry.standard_rotation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .crystals.symmetry import CRYSTAL_SYSTEMS, point_group_rotations, symmetrize

if TYPE_CHECKING:
    from pymatgen.core import Structure

METRICS = (
    "mae_ten", "mae_mean_diag", "mae_diag", "mae_off_diag", "mae_eig", "mae_scalar",
    "median_frobenius", "within_25", "within_10", "within_5", "rmse_ten", "correlation",
)  # fmt: skip
"""Keys of `tensor_metrics`, in the order tables show them."""

_UPPER = np.triu_indices(3)  # xx xy xz yy yz zz
_OFF = np.triu_indices(3, k=1)  # xy xz yz
_COMPONENTS = {
    "cubic": 1, "tetragonal": 2, "trigonal": 2, "hexagonal": 2, "orthorhombic": 3, "monoclinic": 4,
    "triclinic": 6,
}  # fmt: skip


def _tensors(values, name: str = "tensors") -> np.ndarray:
    """Finite float64 array [B, 3, 3] from an array, list or torch tensor; one [3, 3] tensor makes B = 1."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    array = np.asarray(values, dtype=np.float64)
    if array.shape == (3, 3):
        array = array[None]
    if array.ndim != 3 or array.shape[1:] != (3, 3) or len(array) == 0:
        raise ValueError(f"{name} must have the shape (B, 3, 3) with B >= 1, got {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2)))
    if len(bad):
        raise ValueError(
            f"{name} holds NaN or infinite elements in {len(bad)} of {len(array)} tensors, first at index "
            f"{bad[0]}: {array[bad[0]].tolist()}; drop these crystals before scoring"
        )
    return array


def _pair(ref, pred) -> tuple[np.ndarray, np.ndarray]:
    """Both as finite float64 [B, 3, 3] of the same length."""
    ref, pred = _tensors(ref, "ref"), _tensors(pred, "pred")
    if ref.shape != pred.shape:
        raise ValueError(f"ref has {len(ref)} tensors and pred {len(pred)}; they must pair one to one")
    return ref, pred


def mae_ten(ref, pred) -> float:
    """Equation 3: mean absolute error over the six elements i <= j, the paper's main measure and loss.

    Parameters
    ----------
    ref, pred : array, [B, 3, 3]

    Returns
    -------
    float
        Depends on the crystals' orientation.

    Raises
    ------
    ValueError
        For a wrong shape, unequal lengths or non-finite elements, as every function below.
    """
    ref, pred = _pair(ref, pred)
    return float(np.abs(ref - pred)[:, *_UPPER].mean())


def rmse_ten(ref, pred) -> float:
    """Root mean square error over the six elements of Eq. 3 (paper, Fig. 5a-b) of [B, 3, 3] tensors."""
    ref, pred = _pair(ref, pred)
    return float(np.sqrt(np.square(ref - pred)[:, *_UPPER].mean()))


def mae_mean_diag(ref, pred) -> float:
    """Equation 4: mean absolute error of the mean diagonal element (trace / 3) of [B, 3, 3] tensors."""
    ref, pred = _pair(ref, pred)
    return float(np.abs(scalar_constant(ref) - scalar_constant(pred)).mean())


def mae_diag(ref, pred) -> float:
    """Equation 5: mean absolute error over the three diagonal elements of [B, 3, 3] tensors."""
    ref, pred = _pair(ref, pred)
    return float(np.abs(np.diagonal(ref - pred, axis1=1, axis2=2)).mean())


def mae_off_diag(ref, pred) -> float:
    """Equation 6: mean absolute error over the three off-diagonal elements i < j of [B, 3, 3] tensors."""
    ref, pred = _pair(ref, pred)
    return float(np.abs(ref - pred)[:, *_OFF].mean())


def scalar_constant(tensors) -> np.ndarray:
    """Equation 2: polycrystalline constant, the mean eigenvalue = trace / 3. [B, 3, 3] -> [B]."""
    return np.trace(_tensors(tensors), axis1=1, axis2=2) / 3  # [B]


def raw_constant(tensors: np.ndarray) -> np.ndarray:
    """`scalar_constant` of [..., 3, 3], of none and of ones that are not finite too: a judge comes after (`trust.judge`)."""
    return np.trace(tensors, axis1=-2, axis2=-1) / 3


SMALLEST_CONSTANT = 0.05
"""Constants below count as this in logarithms: an ionic part of nothing has none."""


def log_of(constants: np.ndarray) -> np.ndarray:
    """Logarithms of dielectric constants, those below `SMALLEST_CONSTANT` raised to it."""
    return np.log(np.maximum(constants, SMALLEST_CONSTANT))


def eigenvalues(tensors) -> np.ndarray:
    """Eigenvalues in ascending order of the symmetric parts (T + T^t) / 2. [B, 3, 3] -> [B, 3]."""
    tensors = _tensors(tensors)
    return np.linalg.eigvalsh((tensors + tensors.transpose(0, 2, 1)) / 2)  # [B, 3]


def mae_eig(ref, pred) -> float:
    """Mean absolute error of the sorted eigenvalues (Fig. 6b) of [B, 3, 3] tensors; frame-invariant."""
    ref, pred = _pair(ref, pred)
    return float(np.abs(eigenvalues(ref) - eigenvalues(pred)).mean())


def correlation(ref, pred) -> float:
    """Pearson correlation of the scalar constants (Eq. 2) of [B, 3, 3] tensors; NaN where one is constant."""
    ref, pred = _pair(ref, pred)
    x, y = scalar_constant(ref), scalar_constant(pred)  # [B], [B]
    x, y = x - x.mean(), y - y.mean()
    norm = np.linalg.norm(x) * np.linalg.norm(y)
    return float(x @ y / norm) if norm > 1e-12 * len(x) else float("nan")


def anisotropy_ratio(tensors) -> np.ndarray:
    """Anisotropy ratio lambda_max / lambda_min >= 1 (paper, Section 2.4.3).

    Parameters
    ----------
    tensors : array, [B, 3, 3]

    Returns
    -------
    np.ndarray, [B]
        NaN where the tensor is not positive definite: the ratio has no meaning there, and no order.
    """
    values = eigenvalues(tensors)  # [B, 3]
    low, high = values[:, 0], values[:, 2]
    return np.divide(high, low, out=np.full(len(values), np.nan), where=low > 0)


def figure_of_merit(gap, eps) -> np.ndarray:
    """Figure of merit E_g * eps of a gate or capacitor dielectric (paper, Section 2.4.2).

    Parameters
    ----------
    gap : array, [B]
        Band gaps in eV, not negative.
    eps : array, [B] or [B, 3, 3]
        Scalar constants, or total tensors (then Eq. 2 is taken first).

    Returns
    -------
    np.ndarray, [B]
        In eV.

    Raises
    ------
    ValueError
        For a negative gap or unequal lengths.
    """
    gap = np.atleast_1d(np.asarray(gap, dtype=np.float64))
    eps = scalar_constant(eps) if np.ndim(eps) >= 2 else np.atleast_1d(np.asarray(eps, dtype=np.float64))
    if gap.shape != eps.shape:
        raise ValueError(f"gap has the shape {gap.shape} and eps {eps.shape}; give one gap for each crystal")
    if (gap < 0).any():
        raise ValueError(f"band gaps cannot be negative, got {gap.min()} eV; give metals a gap of 0")
    return gap * eps


def frobenius_error(ref, pred) -> np.ndarray:
    """Frobenius norm ||pred - ref||_F of each crystal. Two [B, 3, 3] -> [B]; frame-invariant."""
    ref, pred = _pair(ref, pred)
    return np.linalg.norm(pred - ref, axis=(1, 2))


def relative_error(ref, pred) -> np.ndarray:
    """||pred - ref||_F / ||ref||_F of each crystal. Two [B, 3, 3] -> [B].

    Where the reference is the zero tensor: 0 for an exact prediction, infinite otherwise.
    """
    error, norm = frobenius_error(ref, pred), np.linalg.norm(_tensors(ref), axis=(1, 2))
    limit = np.where(error == 0, 0.0, np.inf)
    return np.divide(error, norm, out=limit, where=norm > 0)


def share_within(ref, pred, percent: float) -> float:
    """Share (0 to 1) of the crystals whose `relative_error` is at most `percent` %."""
    return float((relative_error(ref, pred) <= percent / 100).mean())


def tensor_metrics(ref, pred) -> dict[str, float]:
    """All measures of one batch.

    Parameters
    ----------
    ref, pred : array, [B, 3, 3]

    Returns
    -------
    dict
        Keys `METRICS`. The errors are dimensionless; `within_*` are shares from 0 to 1; `mae_scalar` is the
        error of Eq. 2, which equals `mae_mean_diag` (the trace is the sum of the eigenvalues).
    """
    ref, pred = _pair(ref, pred)
    return {
        "mae_ten": mae_ten(ref, pred),
        "mae_mean_diag": mae_mean_diag(ref, pred),
        "mae_diag": mae_diag(ref, pred),
        "mae_off_diag": mae_off_diag(ref, pred),
        "mae_eig": mae_eig(ref, pred),
        "mae_scalar": float(np.abs(eigenvalues(ref).mean(1) - eigenvalues(pred).mean(1)).mean()),
        "median_frobenius": float(np.median(frobenius_error(ref, pred))),
        "within_25": share_within(ref, pred, 25),
        "within_10": share_within(ref, pred, 10),
        "within_5": share_within(ref, pred, 5),
        "rmse_ten": rmse_ten(ref, pred),
        "correlation": correlation(ref, pred),
    }


def metrics_by_system(ref, pred, systems: Sequence[str]) -> dict[str, dict[str, float]]:
    """`tensor_metrics` for each crystal system and for all crystals (rows of the paper's Table 2).

    Parameters
    ----------
    ref, pred : array, [B, 3, 3]
    systems : sequence of B str
        Names from `CRYSTAL_SYSTEMS`.

    Returns
    -------
    dict of dict
        The seven systems and "all", each with the keys `METRICS` and `n`, its number of crystals. The
        measures of a system without crystals are NaN.
    """
    ref, pred = _pair(ref, pred)
    names = np.asarray(systems, dtype=str)  # [B]
    if names.shape != (len(ref),):
        raise ValueError(f"systems must name {len(ref)} crystal systems, one a tensor, got {names.shape}")
    if unknown := sorted(set(names.tolist()) - set(CRYSTAL_SYSTEMS)):
        raise ValueError(f"unknown crystal systems {unknown}; use {', '.join(CRYSTAL_SYSTEMS)}")
    table = {}
    for name in (*CRYSTAL_SYSTEMS, "all"):
        chosen = np.ones(len(ref), dtype=bool) if name == "all" else np.equal(names, name)
        scores = tensor_metrics(ref[chosen], pred[chosen]) if chosen.any() else dict.fromkeys(METRICS, np.nan)
        table[name] = {"n": int(chosen.sum()), **scores}
    return table


def independent_components(crystal_system: str) -> int:
    """Number of independent dielectric components of a crystal system (paper, Table 1): 1, 2, 3, 4 or 6."""
    if crystal_system not in _COMPONENTS:
        raise ValueError(f"unknown crystal system {crystal_system!r}; use {', '.join(CRYSTAL_SYSTEMS)}")
    return _COMPONENTS[crystal_system]


def table1_violation(tensor, structure: Structure, symprec: float = 0.01) -> float:
    """Deviation of a tensor from the form its crystal's point group allows (Table 1).

    Table 1 shows these forms in the standard setting; projecting with the structure's own Cartesian rotations
    gives the same check in its own frame, whatever that is.

    Parameters
    ----------
    tensor : array, [3, 3]
    structure : pymatgen Structure
        In the tensor's frame.
    symprec : float
        Distance tolerance of the symmetry search in angstrom.

    Returns
    -------
    float
        max_ij |T - T_allowed| / max_ij |T|, where T_allowed is the symmetric part of the mean of R T R^t over
        the point group. 0 for the zero tensor.
    """
    tensor = _tensors(tensor)
    if len(tensor) != 1:
        raise ValueError(f"table1_violation takes one tensor for one structure, got {len(tensor)} tensors")
    allowed = symmetrize(tensor, point_group_rotations(structure, symprec))
    allowed = (allowed + allowed.transpose(0, 2, 1)) / 2
    largest = np.abs(tensor).max()
    return float(np.abs(tensor - allowed).max() / largest) if largest > 0 else 0.0
