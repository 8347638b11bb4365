"""One mapping of a mapspace file: its values with defaults, and its faults gathered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from flat_mapper.base.errors import Faults, expected
from flat_mapper.spec.document import (
    Section,
    place,
    section_of,
    take,
    take_choice,
    take_list,
    unknown_key,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """One mapping of the file, with its place and where its faults go."""

    body: Section
    where: str
    faults: Faults

    def inner(self, key: str, known: tuple[str, ...]) -> FilePart | None:
        """The mapping under a key, an empty one where there is none; unknown keys are noted."""
        body = self.faults.attempt(take, self.body, key, dict, self.where, {})
        if body is None:
            return None
        part = FilePart(
            body=section_of(body, self.where),
            where=f"{self.where}.{key}",
            faults=self.faults,
        )
        part.refuse_unknown(known)
        return part

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        """Note every key that is not among the known ones."""
        self.faults.extend(
            unknown_key(key, self.body, known, self.where) for key in self.body if key not in known
        )

    def words(self, key: str) -> tuple[str, ...] | None:
        """The words of a list; None where the key is missing or wrong."""
        if self.body.get(key) is None:
            return None
        found = self.faults.attempt(take_list, self.body, key, str, self.where)
        if found is None:
            return None
        twice = [word for word, count in Counter(found).items() if count > 1]
        if twice:
            self.fault(key, "each name once", str(twice[0]), "remove one")
        return tuple(str(word) for word in found)

    def choice[C: str](self, key: str, choices: tuple[C, ...], default: C) -> C:
        """The word of a key; the default where it is missing or wrong."""
        found = self.faults.attempt(_choice, self.body, key, choices, self.where, default)
        return found or default

    def flag(self, key: str, default: bool) -> bool:
        """The truth value of a key."""
        found = self.faults.attempt(take, self.body, key, bool, self.where, default)
        return default if found is None else bool(found)

    def fault(self, key: str, condition: str, got: object, change: str = "") -> None:
        """Note that the value of a key is not what it should be."""
        self.faults.append(expected(place(self.where, self.body, key), condition, got, change))


def _choice[C: str](body: Section, key: str, choices: tuple[C, ...], where: str, default: C) -> C:
    return take_choice(body, key, choices, where, default)
