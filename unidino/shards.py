"""Which part of a dataset's sites is whose, where several processes or machines embed it."""

import heapq
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Stretch:
    """Sites `start` to `stop` of a plate, in the order they are embedded in.

    Attributes
    ----------
    key : tuple
        Of the plate.
    start, stop : int
    whole : bool
        Whether these are all its sites.
    """

    key: tuple
    start: int
    stop: int
    whole: bool = True

    def __len__(self):
        return self.stop - self.start


def parsed(shard):
    """(number from 0, count) of a shard such as "3/16"; (0, 1) without one.

    Raises
    ------
    ValueError
        It is no such text, or there is no such part.
    """
    if shard is None:
        return 0, 1
    found = re.fullmatch(r"(\d+)/(\d+)", shard.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(
            f"shard is {shard!r}; expected a part of so many, such as 3/16: the third of sixteen, "
            "from 1/16 to 16/16."
        )
    return int(found[1]) - 1, int(found[2])


def stretches(sizes, number=0, count=1, unit=None):
    """The stretches of one shard.

    Whole plates where there are at least as many as shards, each to the shard that has the fewest
    sites so far, the largest first; else equal parts of all sites in their order.

    Parameters
    ----------
    sizes : dict
        {plate key: sites}.
    number, count : int
        Of the shard, from 0, and of all.
    unit : callable, optional
        Plate key -> sites that are embedded together: stretches of a plate begin at multiples.

    Returns
    -------
    list of Stretch
        In the order of `sizes`. Those of all shards together are all sites, each once.
    """
    if len(sizes) >= count:
        loads, owner = [(0, i) for i in range(count)], {}
        for key in sorted(sizes, key=sizes.get, reverse=True):
            load, owner[key] = loads[0]
            heapq.heapreplace(loads, (load + sizes[key], owner[key]))
        return [Stretch(key, 0, n) for key, n in sizes.items() if owner[key] == number]
    total = sum(sizes.values())
    first, end = (total * i // count for i in (number, number + 1))
    made, before = [], 0
    for key, n in sizes.items():
        together = unit(key) if unit else 1
        start, stop = (_at_unit(edge - before, n, together) for edge in (first, end))
        if start < stop:
            made.append(Stretch(key, start, stop, (start, stop) == (0, n)))
        before += n
    return made


def _at_unit(place, sites, together):
    """A place moved to where a group of sites begins, or to the end of the plate."""
    if place >= sites:
        return sites
    return max(0, place // together * together)
