"""Convert a norm-conserving psp8 pseudopotential to UPF version 2, so that both DFPT engines use the same table.

psp8 is in hartree and bohr and stores the projectors as r * beta(r), the local potential, and 4 pi times the model
core and valence densities (format: https://docs.abinit.org/developers/psp8_info). UPF is in rydberg and bohr.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .inputs import DFPTError


def read_psp8(path: Path) -> dict:
    """Radial functions of a psp8 file.

    Returns
    -------
    dict : `z`, `valence`, `r` [M], `local` [M] (hartree), `core` [M] (4 pi rho) or None, `density` [M] (4 pi rho) or
        None, and `projectors`: list of (l, ekb in hartree, r * beta [M]).

    Raises
    ------
    DFPTError : spin-orbit file, or one that is not psp8.
    """
    lines = path.read_text().splitlines()
    z, valence = (float(x) for x in lines[1].split()[:2])
    code, _, lmax, lloc, points = (int(x) for x in lines[2].split()[:5])
    fchrg = float(lines[3].split()[1])
    nproj = [int(x) for x in lines[4].split()[:5]]
    extension = int(lines[5].split()[0])
    if code != 8 or extension not in (0, 1):
        raise DFPTError(f"{path.name}: pspcod {code}, extension {extension}; only scalar-relativistic psp8 is read.")
    position = 6

    def table() -> np.ndarray:
        nonlocal position
        rows = [line.replace("D", "E").split() for line in lines[position: position + points]]
        position += points
        return np.array(rows, float)  # [M, columns]

    projectors, local = [], None
    while local is None or len({p[0] for p in projectors}) < sum(n > 0 for n in nproj[: lmax + 1]):
        head = lines[position].replace("D", "E").split()
        position += 1
        angular, values = int(head[0]), table()
        if angular == lloc:
            local, r = values[:, 2], values[:, 1]
        else:
            projectors += [(angular, float(e), values[:, 2 + i]) for i, e in enumerate(head[1:])]
    core = table()[:, 2] if fchrg > 0 else None
    density = table()[:, 2] if extension == 1 else None
    return {"z": z, "valence": valence, "r": r, "local": local, "core": core, "density": density,
            "projectors": projectors}


def upf_text(symbol: str, data: dict) -> str:
    """UPF version 2 of what `read_psp8` returns."""
    r, points = data["r"], len(data["r"])
    projectors = sorted(data["projectors"], key=lambda p: p[0])
    used = max(int(np.nonzero(np.abs(p[2]) > 1e-12)[0].max()) + 1 for p in projectors)

    def block(tag: str, values: np.ndarray, extra: str = "") -> str:
        flat = np.asarray(values, float).ravel()
        rows = "\n".join(" ".join(f"{x: .13E}" for x in flat[i: i + 4]) for i in range(0, len(flat), 4))
        return f'<{tag} type="real" size="{len(flat)}" columns="4"{extra}>\n{rows}\n</{tag}>\n'

    density = data["density"] * r**2 if data["density"] is not None else r**2 * np.exp(-r)
    density = density * data["valence"] / np.trapezoid(density, r)
    flag = "T" if data["core"] is not None else "F"
    n = len(projectors)
    header = (
        f'<PP_HEADER generated="converted from psp8" author="" date="" comment="" element="{symbol}" pseudo_type="NC" '
        f'relativistic="scalar" is_ultrasoft="F" is_paw="F" is_coulomb="F" has_so="F" has_wfc="F" has_gipaw="F" '
        f'core_correction="{flag}" functional="PBE" z_valence="{data["valence"]:.2f}" total_psenergy="0.0" '
        f'rho_cutoff="0.0" wfc_cutoff="0.0" l_max="{max(p[0] for p in projectors)}" l_local="-1" '
        f'mesh_size="{points}" number_of_wfc="0" number_of_proj="{n}"/>\n'
    )
    betas = "".join(
        block(f"PP_BETA.{i}", beta, f' index="{i}" angular_momentum="{angular}" cutoff_radius_index="{used}" '
                                    f'cutoff_radius="{r[used - 1]:.6f}"')
        for i, (angular, _, beta) in enumerate(projectors, 1)
    )
    return (
        f'<UPF version="2.0.1">\n<PP_INFO>\nConverted from psp8.\n</PP_INFO>\n{header}'
        f'<PP_MESH mesh="{points}">\n{block("PP_R", r)}{block("PP_RAB", np.gradient(r))}</PP_MESH>\n'
        + (block("PP_NLCC", data["core"] / (4 * np.pi)) if data["core"] is not None else "")
        + block("PP_LOCAL", 2 * data["local"])
        + f"<PP_NONLOCAL>\n{betas}{block('PP_DIJ', 2 * np.diag([p[1] for p in projectors]))}</PP_NONLOCAL>\n"
        + f"<PP_PSWFC>\n</PP_PSWFC>\n{block('PP_RHOATOM', density)}</UPF>\n"
    )


def psp8_to_upf(symbol: str, source: Path, target: Path) -> None:
    """Write the UPF file of one element."""
    target.write_text(upf_text(symbol, read_psp8(source)))
