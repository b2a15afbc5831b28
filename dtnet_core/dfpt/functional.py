"""The density functional a VASP run used, from the tags it ran with: hybrids, meta-GGA, van der Waals, U, spin-orbit.

Names follow the VASP manual. Only what is PBE, PBE+U or PBEsol in every respect gets one of these names, so that
no other label passes for one of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

UNKNOWN = "unknown"

_GGA = {
    "PE": "PBE", "PS": "PBEsol", "RP": "RPBE", "RE": "revPBE", "91": "PW91", "AM": "AM05", "PB": "PB86", "BF": "BEEF",
    "OR": "optPBE", "BO": "optB88", "MK": "optB86b", "ML": "PW86R", "CX": "cx", "B3": "B3LYP", "B5": "B3LYP-VWN5", "HT": "HCTH",
    "CA": "LDA", "C": "LDA", "PZ": "LDA", "SL": "LDA", "VW": "LDA", "WI": "LDA", "HL": "LDA", "LI": "LibXC", "CO": "no exchange-correlation",
}  # fmt: skip
_VDW_DF = {"RE": "vdW-DF", "OR": "optPBE-vdW", "BO": "optB88-vdW", "MK": "optB86b-vdW", "CX": "vdW-DF-cx", "ML": "vdW-DF2"}
_SECOND_KERNEL = {"ML": "vdW-DF2", "MK": "rev-vdW-DF2"}
"""With Zab_vdW = -1.8867, the kernel of vdW-DF2."""
_DISPERSION = {1: "D2", 10: "D2", 11: "D3", 12: "D3(BJ)", 13: "D4", 2: "TS", 20: "TS", 21: "TS-HI", 202: "MBD", 263: "MBD-FI", 3: "ULG", 4: "dDsC"}
_HYBRIDS = {("PBE", 0.25, 0.0): "PBE0", ("PBE", 0.25, 0.2): "HSE06", ("PBE", 0.25, 0.207): "HSE06", ("PBE", 0.25, 0.3): "HSE03",
            ("PBEsol", 0.25, 0.2): "HSEsol", ("PBEsol", 0.25, 0.207): "HSEsol", ("PBEsol", 0.25, 0.0): "PBE0sol", ("B3LYP", 0.2, 0.0): "B3LYP", ("B3LYP-VWN5", 0.2, 0.0): "B3LYP-VWN5"}  # fmt: skip
_PLAIN = ("PBE", "PBEsol")


def functional_name(parameters: Mapping, incar: Mapping | None = None, potentials: Iterable[str] = ()) -> str:
    """Name of the functional, such as "PBE+U", "HSE06", "R2SCAN", "optB88-vdW", "PBE-D3(BJ)", "LDA+SOC".

    Parameters
    ----------
    parameters, incar : mapping
        Tags of the run with their values, and those of its INCAR; upper-case names. What either switches on is on.
    potentials : iterable of str
        Titles of the potentials ("PAW_PBE B 08Apr2002"): they decide where no GGA tag does.
    """
    tags = {str(k).upper(): v for k, v in (incar or {}).items()} | {
        str(k).upper(): v for k, v in parameters.items() if not _blank(v) or str(k).upper() not in (incar or {})
    }
    on = {k for source in (parameters, incar or {}) for k, v in source.items() if v is True or str(v).strip(". ").upper() in ("T", "TRUE")}
    on = {str(k).upper() for k in on}
    families = {family_of(title) for title in potentials}
    name, code = _semilocal(tags, families)
    if "LHFCALC" in on:
        name = _hybrid(name, tags, on)
    name = _with_dispersion(name, code, tags, on)
    if "LDAU" in on and _has_u(tags):
        name += "+U"
    if _text(tags.get("GGA")) not in ("", "CA", "C", "PZ", "SL", "VW", "WI", "HL") and families == {"LDA"}:
        name += " on LDA potentials"
    return f"{name}+SOC" if "LSORBIT" in on else name


def family_of(title: str) -> str:
    """Functional a potential was made with, by its title: "PAW_PBE ...", "PAW ..." (LDA), "PAW_GGA ..." (PW91)."""
    kind = str(title).split()[0].upper() if str(title).split() else ""
    if "PBESOL" in kind or kind.endswith("_PS"):
        return "PBEsol"
    if "PBE" in kind:
        return "PBE"
    if "GGA" in kind or "PW91" in kind or kind.endswith("_91"):
        return "PW91"
    return "LDA" if kind in ("PAW", "PAW_LDA", "US", "NC", "PAW_CA", "US_LDA") else UNKNOWN


def _semilocal(tags: Mapping, families: set[str]) -> tuple[str, str]:
    """Name without exact exchange, and the GGA tag ("" where the potentials decide)."""
    code = _text(tags.get("GGA")) or _text(tags.get("XC"))
    if meta := _text(tags.get("METAGGA")):
        return ("MetaGGA LibXC" if meta == "LIBXC" else {"RSCAN": "rSCAN", "MS0": "MS0", "RTPSS": "revTPSS"}.get(meta, meta)), code
    if any(tag.startswith("LIBXC") and not _blank(tags[tag]) for tag in tags):
        return " ".join(["LibXC", *(str(tags[t]) for t in sorted(tags) if t in ("LIBXC1", "LIBXC2") and not _blank(tags[t]))]), "LI"
    if code:
        return _GGA.get(code, f"GGA {code}"), code
    if len(families) > 1:
        return f"mixed potentials ({', '.join(sorted(families))})", ""
    return next(iter(families), UNKNOWN), ""


def _hybrid(name: str, tags: Mapping, on: set[str]) -> str:
    share, screening = _number(tags.get("AEXX"), 0.25), _number(tags.get("HFSCREEN"), 0.0)
    if abs(share - 1) < 1e-6 and screening == 0 and _number(tags.get("ALDAC"), 0.0) == 0:
        return "HF"
    special = [t for t in ("LTHOMAS", "LMODELHF", "LRHFCALC") if t in on]
    known = _HYBRIDS.get((name, round(share, 4), round(screening, 4)))
    if known and not special:
        return known
    return f"hybrid {name} ({', '.join([f'AEXX = {share:g}', f'HFSCREEN = {screening:g}', *special])})"


def _with_dispersion(name: str, code: str, tags: Mapping, on: set[str]) -> str:
    if "LUSE_VDW" in on or int(_number(tags.get("IVDW_NL"), 0)) > 0:
        second = abs(_number(tags.get("ZAB_VDW"), -0.8491) + 1.8867) < 1e-3
        if _text(tags.get("METAGGA")):
            name += "+rVV10"
        else:
            name = (_SECOND_KERNEL if second else _VDW_DF).get(code, f"{name}+vdW-DF")
    kind = int(_number(tags.get("IVDW"), 0)) or (1 if "LVDW" in on else 0)
    return f"{name}-{_DISPERSION.get(kind, f'vdW(IVDW = {kind})')}" if kind else name


def _has_u(tags: Mapping) -> bool:
    """Whether some U differs from its J (for LDAUTYPE 2 only the difference counts); where neither is given, U is taken to be there."""
    us, js = (_numbers(tags.get(t)) for t in ("LDAUU", "LDAUJ"))
    if not us:
        return True
    return any(abs(u) > 1e-9 for u in us) or any(abs(j) > 1e-9 for j in js)


def _numbers(value) -> list[float]:
    if _blank(value):
        return []
    values = value if isinstance(value, list | tuple) else str(value).split()
    return [float(v) for v in values]


def _number(value, default: float) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return default


def _text(value) -> str:
    """A tag's text in capitals, "" for none."""
    return "" if _blank(value) else str(value).strip().upper()


def _blank(value) -> bool:
    return value is None or (isinstance(value, str) and value.strip().upper() in ("", "--", "NONE"))
