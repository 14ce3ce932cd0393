"""The universal screening of nuclear repulsion: phi(r) = sum_i a_i exp(-b_i r / l), l = L / (Z_A^p + Z_B^p), Bohr.

Source: Ziegler, Biersack and Littmark, "The stopping and range of ions in solids" (1985).
"""

from __future__ import annotations

__all__ = ["FACTORS", "LENGTH", "POWER", "RATES"]

#: Factors a_i and rates b_i of the four terms.
FACTORS: tuple[float, ...] = (0.18175, 0.50986, 0.28022, 0.02817)
RATES: tuple[float, ...] = (3.19980, 0.94229, 0.40290, 0.20162)
#: L (Bohr) and p of the screening length.
LENGTH: float = 0.88534
POWER: float = 0.23
