"""Many columns on a few axes, in units of their deviation, clipped, on principal components; and how alike points are there.

Reach, guess, companion and charges see a potential's invariant features through it.
"""

from __future__ import annotations

import numpy as np

_WIDEST = 10.0  # deviations; what is further off counts as that far


def units(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation [D] of the columns of [n, D]; columns that hardly vary get an infinite deviation, so that they count for nothing."""
    spread = x.std(0)
    return x.mean(0), np.where(spread > 1e-4 * np.median(spread), spread, np.inf)


def scaled(x: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """[B, D] from `center` [D] in units `scale` [D], clipped."""
    return np.clip((x - center) / scale, -_WIDEST, _WIDEST)


def project(x: np.ndarray, center: np.ndarray, scale: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """`scaled` on `axes` [D, P]: [B, P]."""
    return scaled(x, center, scale) @ axes


def fit_projection(x: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`center`, `scale` and `axes` of `project` for rows [n, D]: at most `components` principal components."""
    from sklearn.decomposition import PCA

    center, scale = units(x)
    return center, scale, PCA(min(components, *x.shape), random_state=0, svd_solver="randomized").fit(scaled(x, center, scale)).components_.T


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of points [n, P] and [m, P]: [n, m]."""
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)


def gaussian(a: np.ndarray, b: np.ndarray, gamma: float) -> np.ndarray:
    """exp(-gamma r^2) between points [n, P] and [m, P]: [n, m]."""
    return np.exp(-gamma * squared_distances(a, b))
