"""Levels of theory: a string such as ``pbe/def2-svp`` becomes an object that labels molecules."""

from ase_mlwave.reference.levels.base import LevelOfTheory
from ase_mlwave.reference.levels.correlated import CorrelatedLevel
from ase_mlwave.reference.levels.mean_fields import PyscfLevel
from ase_mlwave.reference.levels.programs import CalculatorLevel, TbliteLevel

__all__ = ["CalculatorLevel", "CorrelatedLevel", "LevelOfTheory", "PyscfLevel", "TbliteLevel"]
