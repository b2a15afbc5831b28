"""The Gaussian process behind the Born charges, against the textbook's formulas in full."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dtnet_core.features import Features
from dtnet_core.physics.charges import NOISE, doubt, fit_charges, matern


def traceless(g, *shape) -> np.ndarray:
    t = g.normal(size=(*shape, 3, 3))
    t = t + np.swapaxes(t, -1, -2)
    return t - np.trace(t, axis1=-2, axis2=-1)[..., None, None] * np.eye(3) / 3


def made_up(g, sizes, scalars=3, vectors=2, tensors=2) -> list[Features]:
    """Crystals of random features; the last atom of each fifth has no tensor, as symmetry may ask for."""
    found = []
    for k, n in enumerate(sizes):
        t = traceless(g, n, tensors) * np.geomspace(0.5, 20, tensors)[:, None, None]
        if k % 5 == 0:
            t[-1] = 0
        s, v = g.normal(size=(n, scalars)) * 3 + 5, g.normal(size=(n, vectors, 3))
        found.append(Features(*(torch.from_numpy(x) for x in (s, v, t)), torch.tensor([n])))
    return found


@pytest.fixture(scope="module")
def fitted():
    """Thirty crystals with charges, the model of all of their atoms but the second of each, which counts as the first, and five new crystals."""
    g = np.random.default_rng(0)
    crystals, new = made_up(g, [2 + k % 3 for k in range(30)]), made_up(g, [3] * 5)
    charges = [traceless(g, len(f.scalars)) * 0.3 + (2 * f.scalars[:, 0].numpy() / 5 - 2)[:, None, None] * np.eye(3) for f in crystals]
    representatives = [np.array([0, 0, *range(2, len(z))]) for z in charges]
    return crystals, charges, representatives, new, fit_charges("x", crystals, charges, representatives, 0.7)


def kept(parts, representatives):
    return np.concatenate([np.asarray(x)[np.unique(r)] for x, r in zip(parts, representatives, strict=True)])


def invariants(f: Features) -> np.ndarray:
    return np.concatenate([f.scalars, np.linalg.norm(f.vectors, axis=-1), np.sqrt(np.square(f.tensors.numpy()).sum((2, 3)))], 1)


def matern52(a, b, length) -> np.ndarray:
    r = np.sqrt(5) * np.linalg.norm(a[:, None] - b, axis=-1) / length
    return (1 + r + r**2 / 3) * np.exp(-r)


def test_kernel_and_doubt_by_hand():
    g = np.random.default_rng(1)
    a, b = g.normal(size=(4, 3)), g.normal(size=(5, 3))
    np.testing.assert_allclose(matern(a, b, 1.7), matern52(a, b, 1.7), rtol=1e-9)
    np.testing.assert_allclose(np.diag(matern(a, a, 0.5)), 1, atol=1e-6)
    np.testing.assert_allclose(doubt(np.array([[1.0, 0.2], [0.0, 0.0], [0.3, 0.6], [1.1, 0.0]])), [0.1, 1, np.sqrt(1 - 0.99 * 0.36), 0.1])


def test_points_are_deviations_on_principal_axes(fitted):
    """Distances are those between invariants in units of their deviation; the first axis has the largest variance."""
    crystals, _, representatives, _, model = fitted
    q = kept([invariants(f) for f in crystals], representatives)
    scaled = (q - q.mean(0)) / q.std(0)
    away = lambda x: np.linalg.norm(x[:, None] - x, axis=-1)  # noqa: E731
    np.testing.assert_allclose(away(model.points), away(scaled), atol=0.01)  # points in half precision
    variance = model.points.var(0)
    np.testing.assert_allclose(variance, np.linalg.eigvalsh(np.cov(scaled.T, ddof=0))[::-1], rtol=5e-3)
    assert model.length == pytest.approx(np.median(away(model.points)))
    np.testing.assert_allclose(model.place(q), model.points, atol=5e-3)
    np.testing.assert_allclose(model.place((model.center + 25 * model.scale)[None]), model.place((model.center + 10 * model.scale)[None]))
    assert np.abs(model.place((model.center + 10 * model.scale)[None]) - model.place((model.center + 9 * model.scale)[None])).max() > 0.1


def test_charges_are_those_of_the_two_processes(fitted):
    """Mean and covariances written out: k for the isotropic part, k t_i . t_j for each pair of elements of the traceless part; then neutral."""
    crystals, charges, representatives, new, model = fitted
    z = kept(charges, representatives)
    isotropic = np.trace(z, axis1=1, axis2=2) / 3
    rest = (z - isotropic[:, None, None] * np.eye(3)).reshape(len(z), 9)
    t = np.einsum("ncab,cd->ndab", kept([f.tensors for f in crystals], representatives), model.mix).reshape(len(z), -1, 9)
    k = matern52(model.points, model.points, model.length)
    may = np.linalg.norm(t, axis=(1, 2)) > 0
    assert (~may).sum() == 4
    covariance = (np.einsum("ica,jcb->iajb", t, t) * k[:, None, :, None])[may][:, :, may].reshape(9 * may.sum(), -1)
    weights = np.linalg.solve(covariance + NOISE["tensor"] * np.eye(len(covariance)), rest[may].ravel()).reshape(-1, 9)
    plain = np.linalg.solve(k + NOISE["isotropic"] * np.eye(len(k)), isotropic - isotropic.mean())
    for f, (found, half_width) in zip(new, model.predict(new), strict=True):
        cross = matern52(model.place(invariants(f)), model.points, model.length)
        mine = np.einsum("ncab,cd->ndab", f.tensors.numpy(), model.mix).reshape(len(f.scalars), -1, 9)
        tensor = np.einsum("nca,nj,jcb,jb->na", mine, cross[:, may], t[may], weights).reshape(-1, 3, 3)
        wanted = tensor + (isotropic.mean() + cross @ plain)[:, None, None] * np.eye(3)
        assert np.abs(tensor).max() > 0.02
        np.testing.assert_allclose(found, wanted - wanted.mean(0), atol=2e-3)
        np.testing.assert_allclose(half_width, 0.7 * np.sqrt(1 - 0.99 * cross.max(1) ** 2), rtol=1e-6)


def test_mixtures_of_channels_have_unit_size_together(fitted):
    """Each channel counts in units of its own size: five independent elements of size one. An empty channel has no part."""
    crystals, _, representatives, _, model = fitted
    t = np.einsum("ncab,cd->ndab", kept([f.tensors for f in crystals], representatives), model.mix)
    assert np.square(t).sum() / len(t) == pytest.approx(5)
    g = np.random.default_rng(2)
    many = made_up(g, [3] * 30, scalars=260, tensors=70)
    for f in many:
        f.tensors[:, 3] = 0
    wide = fit_charges("x", many, [np.zeros((3, 3, 3))] * 30, [np.arange(3)] * 30)
    assert wide.mix.shape == (70, 64) and (wide.mix[3] == 0).all() and wide.components.shape == (260 + 2 + 70, 256) and wide.spread == 1


def test_one_atom_of_each_orbit_is_fitted(fitted):
    """What the other atoms' charges are changes nothing; what those of the fitted atoms are does; an antisymmetric part is left out."""
    crystals, charges, representatives, new, model = fitted
    rows = {"other": 1, "own": 0}
    changed = {name: [z + (np.arange(len(z)) == row)[:, None, None] * np.diag([1, -2, 3]) for z in charges] for name, row in rows.items()}
    turned = [z + np.array([[0, 1, -2], [-1, 0, 3], [2, -3, 0]]) for z in charges]
    before = model.predict(new)[0][0]
    again = {name: fit_charges("x", crystals, z, representatives, 0.7).predict(new)[0][0] for name, z in (changed | {"turned": turned}).items()}
    np.testing.assert_array_equal(again["other"], before)
    np.testing.assert_allclose(again["turned"], before, atol=1e-4)
    assert np.abs(again["own"] - before).max() > 0.05
