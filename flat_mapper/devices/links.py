"""Words of a collective on every link: each is sent along the shortest ways, one by one.

It shares nothing with the closed forms of `devices.network`, and is their referee.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from flat_mapper.devices.network import Collective, Topology

Links = dict[tuple[int, int], float]  # words from one device to another; a switch is device -1


def links_of(topology: Topology, what: Collective, each: Sequence[float]) -> Links:
    """Words on each link of an axis.

    each: words of each device, that it gives to all others or, of an all-to-all, parts to each; of
          a shift, to the next one.
    """
    links, n = Links(), len(each)
    for a, words in enumerate(each):
        others = [b for b in range(n) if b != a]
        if what == "alltoall":
            for b in others:
                _sent(topology, n, a, [b], words, links)
        elif what == "shift":
            _sent(topology, n, a, [(a + 1) % n], words, links)
        else:  # a sum goes where a gathered part comes from, over the same links the other way
            _sent(topology, n, a, others, words * (2 if what == "all_reduce" else 1), links)
    return links


def _routes(topology: Topology, n: int, a: int, b: int) -> Iterator[list[tuple[int, int]]]:
    """The shortest ways from one device to another."""
    if topology == "switch":
        yield [(a, -1), (-1, b)]
        return
    steps = [(b - a) % n, (a - b) % n] if topology == "ring" and n > 2 else [b - a, a - b]
    for direction, far in zip((1, -1), steps, strict=True):
        if far > 0 and far == min(s for s in steps if s > 0):
            yield [*pairwise((a + direction * i) % n for i in range(far + 1))]


def _sent(topology: Topology, n: int, a: int, to: list[int], words: float, links: Links) -> None:
    """Words from one device to others; a link carries them once, a switch's once for each."""
    own = Links()
    for b in to:
        routes = [*_routes(topology, n, a, b)]
        for link in (link for route in routes for link in route):
            share, known = words / len(routes), own.get(link, 0.0)
            own[link] = known + share if topology == "switch" else max(known, share)
    add_links(links, own)


def add_links(links: Links, more: Links) -> None:
    """Count more words of links."""
    for link, words in more.items():
        links[link] = links.get(link, 0.0) + words
