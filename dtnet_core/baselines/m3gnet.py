"""M3GNet (Chen, Ong 2022) of matgl; the tensor is the derivative of its scalar output with respect to the cell.

The paper trains the derivative, not the scalar. Taken as a strain that moves cell and atoms together, the derivative of an
invariant scalar is a symmetric tensor that turns with the crystal. matgl's network runs as it is; it is given bonds, and the
strain acts on these.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from pymatgen.core import Element
from torch import Tensor

from ..features import to_mandel
from ..potentials.packages import import_bare
from ..training.scratch.orbit_graph import OrbitGraph
from .network import TensorNetwork, mean_over_atoms

_ELEMENTS = tuple(Element.from_Z(z).symbol for z in range(1, 95))

_INITIAL_SIZE = 0.5
"""Of the derivative at the start, in units of the labels' spread."""


class _NothingStored:
    """Stands for what lets matgl save and download models."""

    def save_args(self, *_) -> None:
        """matgl keeps a model's arguments for its own files."""


@lru_cache(maxsize=1)
def matgl() -> tuple[ModuleType, ModuleType]:
    """matgl's M3GNet and its computation of line graphs, without its training framework and its downloads.

    Raises
    ------
    ImportError
        When it is not installed, with the command that installs it.
    """
    kinds = {"float_th": torch.float32, "int_th": torch.int32, "float_np": np.float32, "int_np": np.int32}
    stand_ins = {"utils.io": {"IOMixIn": _NothingStored}}
    return tuple(import_bare("matgl", ["models._m3gnet", "graph._compute"], stand_ins, **kinds))


class M3GNet(TensorNetwork):
    """M3GNet whose strain derivative is the tensor.

    Parameters
    ----------
    units : int
        Features of an atom and of a bond, and neurons of the hidden layers.
    layers : int
    reach, three_body_reach : float
        Cutoffs of bonds and of the pairs of bonds that make angles, in angstrom.
    """

    def __init__(self, units: int = 64, layers: int = 3, reach: float = 5.0, three_body_reach: float = 4.0):
        super().__init__()
        self.reach = reach
        self.register_buffer("gain", torch.ones(()))
        self.core = matgl()[0].M3GNet(
            _ELEMENTS, units, units, nblocks=layers, units=units, cutoff=reach, threebody_cutoff=three_body_reach, is_intensive=False
        )

    def scalar(self, graph: OrbitGraph, bonds: Tensor) -> Tensor:
        """The scalar [B, 1], as a mean over atoms, for these bond vectors [E, 3].

        The atoms' features are scalars, so a neighbour's are those of the atom that stands for its orbit.
        """
        order = torch.argsort(graph.receiver, stable=True)  # matgl counts on bonds sorted by atom
        bonds, kept = bonds[order], len(graph.numbers)
        edges = torch.stack([graph.receiver[order], graph.row[graph.neighbour[order]]])
        lengths = bonds.detach().norm(dim=1)
        angles = matgl()[1].create_line_graph_torch(edges, lengths, bonds, kept, self.core.threebody_cutoff)
        data = SimpleNamespace(
            node_type=graph.numbers - 1, pos=bonds.new_zeros(kept, 3), pbc_offshift=bonds, edge_index=edges, batch=graph.crystal,
            num_graphs=len(graph.n_atoms),
        )  # fmt: skip
        self.core(data, l_g=angles)
        found = self.core.feature_dict["readout"].view(kept, 1)
        self.core.feature_dict = {}  # else it keeps the batch in memory
        return mean_over_atoms(found, graph)

    def raw(self, graph: OrbitGraph) -> Tensor:
        """Derivative of the scalar with respect to a symmetric strain, [B, 6]; of all atoms' bonds, once averaged over the group.

        The derivative is taken at zero strain, where the crystal has its symmetry; so the derivatives with respect to equivalent
        bonds turn into each other, and the mean over the point group of what the kept atoms' bonds give is the whole.
        """
        trains = self.training and torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            graph = _usable(graph)
            strain = torch.zeros(len(graph.n_atoms), 3, 3, dtype=self.dtype, device=graph.numbers.device, requires_grad=True)
            symmetric = (strain + strain.transpose(1, 2)) / 2
            bonds = graph.vectors.to(self.dtype)
            bonds = bonds + torch.einsum("eij,ej->ei", symmetric[graph.crystal[graph.receiver]], bonds)
            (derivative,) = torch.autograd.grad(self.scalar(graph, bonds).sum(), strain, create_graph=trains)
        return self.gain * to_mandel(derivative)

    def fit_scales(self, graph: OrbitGraph, targets: Tensor) -> None:
        """Also bring the derivative, which is minute with random weights, to the order of the labels' spread."""
        super().fit_scales(graph, targets)
        was, self.training = self.training, False
        size = self.raw(graph.cut(self.reach)).square().mean().sqrt()
        self.training = was
        self.gain.copy_(_INITIAL_SIZE / size if size > 0 else self.gain)


def _usable(graph: OrbitGraph) -> OrbitGraph:
    """The graph with tensors that may enter a derivative: those made in inference mode may not."""
    return type(graph)(**{k: x.clone() if x is not None and x.is_inference() else x for k, x in vars(graph).items()})
