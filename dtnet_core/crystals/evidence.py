"""A filled cell held against what its file says of it: formula, number of formula units, density, volume."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pymatgen.core import Composition, Element, Structure

_DENSITY = {"diffrn": 0.10, "meas": 0.25}
"""Relative deviations of the density that are let pass: of one computed from the cell, of a measured one."""
_GRAMS = 1.66053907  # g/cm3 of one atomic mass unit in a cubic angstrom
_TOKEN = re.compile(r"([A-Za-z]{1,2})(\d*\.?\d*)")


@dataclass(frozen=True)
class Evidence:
    """What a file says of the content of its cell; None where it says nothing.

    Attributes
    ----------
    formula : dict of element symbol to number, or None
    units : float or None
        Formula units in the cell, Z.
    density, density_kind : float or None, str
        In g/cm3, and "diffrn" (computed) or "meas".
    """

    formula: dict[str, float] | None = None
    units: float | None = None
    density: float | None = None
    density_kind: str = "diffrn"

    @property
    def decisive(self) -> bool:
        """Whether it fixes how many atoms the cell has."""
        return self.density is not None or (self.formula is not None and self.units is not None)

    def objections(self, structure: Structure) -> list[str]:
        """How a filled cell contradicts the file; an empty list where it agrees."""
        found = []
        if self.formula is not None and (problem := self._composition(structure, self.formula)):
            found.append(problem)
        elif self.formula is None and self.units is not None:
            counts = structure.composition.get_el_amt_dict().values()
            if any(abs(n / self.units - round(n / self.units)) > 1e-3 for n in counts):
                found.append(f"{written(structure.composition.get_el_amt_dict())} in the cell are not Z = {self.units:g} equal formula units")
        if self.density is not None:
            ours = float(structure.composition.weight) / structure.volume * _GRAMS
            if abs(ours / self.density - 1) > _DENSITY[self.density_kind]:
                found.append(f"the cell's content {written(structure.composition.get_el_amt_dict())} has {ours:.3g} g/cm3, the file says {self.density:g}")
        return found

    def _composition(self, structure: Structure, formula: dict[str, float]) -> str:
        ours = {element: float(n) for element, n in structure.composition.get_el_amt_dict().items()}
        stated = f"{written(formula)}{'' if self.units is None else f' with Z = {self.units:g}'}"
        content = f"atoms and symmetry put {written(ours)} into the cell, but the file's formula is {stated}"
        factors = [ours.get(e, 0.0) / n for e, n in formula.items()]
        if set(ours) != set(formula) or max(factors) - min(factors) > 1e-3 * max(factors):
            most = max(factors)
            short = {e: round(n * most - ours.get(e, 0.0), 3) for e, n in formula.items() if n * most - ours.get(e, 0.0) > 1e-3}
            return f"{content}: {written(short)} of it are not in the atom list" if short and set(ours) <= set(formula) else content
        if self.units is None:
            return ""
        common = _common(formula)
        wanted = {self.units, self.units / common}  # some write the whole cell as the formula
        whole = abs(factors[0] - 1) < 1e-3 and Composition(ours).get_reduced_composition_and_factor()[1] == self.units
        whole = whole or (abs(factors[0] - 1) < 1e-3 and int(Composition(ours).get_reduced_formula_and_factor()[1]) == self.units)  # as pymatgen writes it
        if whole or any(abs(factors[0] - w) < 1e-3 * max(w, 1.0) for w in wanted):
            return ""
        return f"{content}: {factors[0]:g} formula units where there should be {self.units:g}"


def _common(formula: dict[str, float]) -> float:
    """By what all numbers of a formula can be divided."""
    reduced = Composition(formula).get_integer_formula_and_factor() if all(float(n).is_integer() for n in formula.values()) else ("", 1)
    return float(reduced[1]) or 1.0


def written(composition: dict[str, float]) -> str:
    """``Mg1 O2``"""
    return " ".join(f"{element}{n:g}" for element, n in composition.items())


def read_formula(text: str) -> dict[str, float] | None:
    """``'C2 H6 O'`` as numbers of elements, deuterium as hydrogen; None for what is no such formula."""
    found: dict[str, float] = {}
    tokens = [token for token in text.replace(",", " ").split() if not re.fullmatch(r"\d*[+-]", token)]
    for token in tokens:
        parts = _TOKEN.fullmatch(token)
        symbol = ("H" if parts[1] in ("D", "T") else parts[1].capitalize()) if parts else ""
        if not parts or not Element.is_valid_symbol(symbol):
            return _nested("".join(tokens))
        found[symbol] = found.get(symbol, 0.0) + float(parts[2] or 1)
    return {e: n for e, n in found.items() if n > 0} or None


def _nested(text: str) -> dict[str, float] | None:
    try:
        found = Composition(text).get_el_amt_dict() if len(text) < 500 else {}
    except Exception:  # its parser raises whatever the text happens to cause
        return None
    found = {("H" if e in ("D", "T") else e): float(n) for e, n in found.items()}
    return found if found and all(Element.is_valid_symbol(e) and n > 0 for e, n in found.items()) else None
