"""The one reduction every module goes through: sums over the atoms of a crystal, over the bonds of an atom."""

from __future__ import annotations

from torch import Tensor

try:  # an optional compiled kernel; torch's own operation gives the same sums
    from torch_scatter import scatter_sum as _scatter_sum
except ImportError:
    _scatter_sum = None

HAVE_TORCH_SCATTER = _scatter_sum is not None


def segment_sum(values: Tensor, index: Tensor, size: int, kernel: str | None = None) -> Tensor:
    """Sum the rows of `values` that share an index.

    Parameters
    ----------
    values : Tensor, [N, ...]
    index : Tensor, [N] int64
        Segment of each row, in [0, size).
    size : int
        Number of segments; empty ones give zeros.
    kernel : {"torch", "torch_scatter"}, optional
        Which implementation; default torch-scatter where it is installed, else torch.

    Returns
    -------
    Tensor, [size, ...]

    Raises
    ------
    ImportError
        For ``kernel="torch_scatter"`` where that package is missing.
    """
    if kernel is None:
        kernel = "torch_scatter" if HAVE_TORCH_SCATTER else "torch"
    if kernel == "torch":
        return values.new_zeros((size, *values.shape[1:])).index_add(0, index, values)
    if not HAVE_TORCH_SCATTER:
        raise ImportError("torch-scatter is not installed: pip install --no-build-isolation torch-scatter")
    return _scatter_sum(values, index, dim=0, dim_size=size)
