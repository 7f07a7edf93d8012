"""The states that a walk has come to, by numbers, and which leads to which."""

from __future__ import annotations

from collections.abc import Iterable


class States:
    """Numbers for states, in the order in which they were heard of, and the ways between them."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self.onward: list[list[tuple[int, bool]]] = []
        self.ends: set[int] = set()

    def number(self, key: bytes) -> int:
        """The number of the state that is known by *key*."""
        number = self._numbers.setdefault(key, len(self._numbers))
        if number == len(self.onward):
            self.onward.append([])
        return number

    def join(self, start: int, end: int, *, is_asked: bool) -> None:
        """There is a way from *start* to *end*; is_asked: somebody, or the time, decides to take it."""
        self.onward[start].append((end, is_asked))

    def find_trapped(self) -> set[int]:
        """The states from which no way leads to an end."""
        back: list[list[int]] = [[] for _ in self.onward]
        for start, ways in enumerate(self.onward):
            for end, _ in ways:
                back[end].append(start)
        free = _reach(self.ends, back)
        return set(range(len(self.onward))) - free

    def find_circling(self, *, asked: bool) -> set[int]:
        """The states on a circle, or between two; unless *asked*, on one that nobody is asked on."""
        onward = [[end for end, is_asked in ways if asked or not is_asked] for ways in self.onward]
        left = set(range(len(onward)))
        back: list[list[int]] = [[] for _ in onward]
        for start, ways in enumerate(onward):
            for end in ways:
                back[end].append(start)
        for nexts, lasts in ((onward, back), (back, onward)):
            count = [sum(1 for end in ways if end in left) for ways in nexts]
            bare = [number for number in left if not count[number]]
            while bare:
                number = bare.pop()
                left.discard(number)
                for start in lasts[number]:
                    count[start] -= 1
                    if start in left and not count[start]:
                        bare.append(start)
        return left

    def count_ways(self, starts: Iterable[int]) -> int | None:
        """How many ways lead from *starts* to an end, or None if there is no end of them."""
        order, seen = list[int](), dict[int, bool]()
        ahead = [(start, False) for start in reversed(list(starts))]
        firsts = [start for start, _ in ahead]
        while ahead:
            number, is_left = ahead.pop()
            if is_left:
                seen[number] = True
                order.append(number)
            elif number not in seen:
                seen[number] = False
                ahead.append((number, True))
                for end, _ in self.onward[number]:
                    if seen.get(end) is False:
                        return None
                    ahead.append((end, False))
        ways: dict[int, int] = {}
        for number in order:
            ways[number] = (number in self.ends) + sum(ways[end] for end, _ in self.onward[number])
        return sum(ways[start] for start in firsts)

    def find_ends(self, start: int) -> set[int]:
        """The ends that *start* leads to."""
        return _reach([start], [[end for end, _ in ways] for ways in self.onward]) & self.ends


def _reach(starts: Iterable[int], onward: list[list[int]]) -> set[int]:
    reached = set(starts)
    ahead = list(reached)
    while ahead:
        for end in onward[ahead.pop()]:
            if end not in reached:
                reached.add(end)
                ahead.append(end)
    return reached
