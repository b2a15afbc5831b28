"""The ionic tensor of the simplest crystals from their one polar mode, and the Lyddane-Sachs-Teller relation.

A cubic crystal of two atoms has three optical modes at Gamma with one frequency: the two sublattices swing against each other along
x, y or z. Symmetry alone gives the pattern, so charge, masses and frequency give the ionic constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import constants

from ..crystals.record import Record
from ..crystals.symmetry import crystal_system

_SQUARE = constants.e**2 / (constants.epsilon_0 * constants.atomic_mass * 1e-30 * (2 * np.pi * constants.c * 100) ** 2)
"""4 pi e^2 / (angstrom^3 u), as a squared wave number in 1/cm^2."""


@dataclass(frozen=True)
class PolarMode:
    """The polar mode of a cubic crystal of two atoms.

    Attributes
    ----------
    charge : float
        Born charge of either atom, Z, in units of e.
    mass : float
        Reduced mass mu in u.
    volume : float
        Of the cell, in cubic angstrom.
    transverse : float
        Frequency of the transverse optical mode in 1/cm.
    electronic : float
        Electronic constant.
    """

    charge: float
    mass: float
    volume: float
    transverse: float
    electronic: float

    @property
    def ionic(self) -> float:
        """4 pi / V (Z^2 / mu) / omega_TO^2."""
        return self._plasma / self.transverse**2

    @property
    def longitudinal(self) -> float:
        """Frequency of the longitudinal optical mode in 1/cm: omega_LO^2 = omega_TO^2 + 4 pi Z^2 / (V mu eps_electronic)."""
        return float(np.sqrt(self.transverse**2 + self._plasma / self.electronic))

    @property
    def ratio(self) -> float:
        """(omega_LO / omega_TO)^2, which Lyddane, Sachs and Teller equate to the total over the electronic constant."""
        return (self.longitudinal / self.transverse) ** 2

    @property
    def _plasma(self) -> float:
        return _SQUARE * self.charge**2 / (self.mass * self.volume)


def has_one_polar_mode(record: Record) -> bool:
    """Whether the record is of a cubic crystal with two different atoms, and has charges and frequencies."""
    two = len(record.structure) == 2 and len(record.structure.composition) == 2
    return bool(two and record.meta.get("born_charges") and record.meta.get("gamma_frequencies_cm1") and crystal_system(record.structure) == "cubic")


def polar_mode(record: Record) -> PolarMode:
    """The polar mode by the Born charges and frequencies of a DFPT record.

    Raises
    ------
    ValueError
        For another crystal than `has_one_polar_mode`, and for one whose highest mode is not stable.
    """
    if not has_one_polar_mode(record) or record.eps_electronic is None:
        raise ValueError(f"record {record.id} ({record.formula}): only a cubic crystal of two different atoms, with Born charges and frequencies, has one polar mode")
    charges = [np.trace(z) / 3 for z in np.asarray(record.meta["born_charges"], float)]
    masses = [float(site.specie.atomic_mass) for site in record.structure]
    frequency = float(max(record.meta["gamma_frequencies_cm1"]))
    if frequency <= 0:
        raise ValueError(f"record {record.id} ({record.formula}): its highest mode is at {frequency} 1/cm, so the crystal is not stable")
    return PolarMode((charges[0] - charges[1]) / 2 * np.sign(charges[0]), 1 / sum(1 / m for m in masses), record.structure.volume, frequency,
                     float(np.trace(record.eps_electronic)) / 3)  # fmt: skip
