"""Lines of a program that is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class CodeLines:
    """Lines of C, indented by the blocks that are open."""

    lines: list[str] = field(default_factory=list)
    depth: int = 0

    def add(self, *lines: str) -> None:
        """Lines at the depth of now."""
        self.lines += ["    " * self.depth + line if line else "" for line in lines]

    @contextmanager
    def block(self, *heads: str, end: str = "") -> Iterator[None]:
        """A block for each head, each in the one before; end: a comment behind the heads."""
        for head in heads:
            self.add(f"{head} {{{end}")
            self.depth += 1
        yield
        for _ in heads:
            self.depth -= 1
            self.add("}")

    def array(self, name: str, shape: tuple[int, ...], comment: str) -> None:
        """An array of float32 that begins with a line of the cache."""
        sizes = "".join(f"[{n}]" for n in shape) or "[1]"
        self.add(f"static float {name}{sizes} __attribute__((aligned(64)));  // {comment}")
