"""Exact search for the best fused mapping in a declared mapspace."""

from flat_mapper.search.objective import OBJECTIVES, Objective
from flat_mapper.search.solution import Certificate, Solution
from flat_mapper.search.solve import search

__all__ = ["OBJECTIVES", "Certificate", "Objective", "Solution", "search"]
