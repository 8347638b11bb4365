"""The search for the best mapping of a mapspace."""

from flat_mapper.search.frontier import FRONT, frontier
from flat_mapper.search.objective import OBJECTIVES, Objective
from flat_mapper.search.remainders import search
from flat_mapper.search.solution import Certificate, Solution

__all__ = ["FRONT", "OBJECTIVES", "Certificate", "Objective", "Solution", "frontier", "search"]
