"""Pages that a CPU has charged in advance, so that a charge is a subtraction as a rule.

A CPU keeps them for up to seven groups. They count as used; before a group is refused anything, or has to die, they are
given back.

Mirrors: mm/memcontrol.c (struct memcg_stock_pcp, consume_stock, refill_stock, drain_all_stock) (6.18)
Differs: of seven groups the one that was used longest ago gives way, not one at random.
"""

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

if TYPE_CHECKING:
    from pagewalk.mm.mem_cgroup import MemCgroup

MEMCG_CHARGE_BATCH: Final = 64
NR_MEMCG_STOCK: Final = 7


@final
class MemcgStock:
    """One CPU's.

    ident, pages  of the group that was charged last, -1 for none
    others        pages of other groups by number, the one that was used longest ago first
    """

    def __init__(self, groups: "list[MemCgroup]") -> None:
        self.groups = groups
        self.ident: i64 = -1
        self.pages: i64 = 0
        self.others: dict[int, int] = {}

    def consume(self, ident: i64, nr_pages: i64) -> bool:
        """Takes pages that are charged already; False where there are not so many."""
        if self.ident == ident and self.pages >= nr_pages:
            self.pages -= nr_pages
            return True
        if self.ident == ident or ident not in self.others:
            return False
        self.select(ident)
        return self.consume(ident, nr_pages)

    def holds(self, ident: i64, nr_pages: i64) -> bool:
        """Whether ``consume`` would be served."""
        if nr_pages == 0:
            return False
        return self.ident == ident and self.pages >= nr_pages

    def select(self, ident: i64) -> None:
        """The group is the one that is used now."""
        if self.ident >= 0 and self.pages:
            self.others[self.ident] = int(self.pages)
        self.ident = ident
        self.pages = self.others.pop(ident, 0)
        if len(self.others) >= NR_MEMCG_STOCK:
            oldest = next(iter(self.others))
            self.uncharge(oldest, self.others.pop(oldest))

    def refill(self, ident: i64, nr_pages: i64) -> None:
        """Pages that are charged and not used; above 64 all of the group's go."""
        if self.ident != ident:
            self.select(ident)
        self.pages += nr_pages
        if self.pages > MEMCG_CHARGE_BATCH:
            self.uncharge(ident, self.pages)
            self.pages = 0

    def drain(self, within: "MemCgroup") -> bool:
        """Gives back what is held for a group and those below it; whether that was anything."""
        drained = False
        for ident in list(self.others):
            if self.belongs(ident, within):
                self.uncharge(ident, self.others.pop(ident))
                drained = True
        if self.ident >= 0 and self.belongs(self.ident, within):
            drained = drained or self.pages > 0
            self.uncharge(self.ident, self.pages)
            self.ident = -1
            self.pages = 0
        return drained

    def held(self) -> dict[int, int]:
        """Pages by group, for checks."""
        found = dict(self.others)
        if self.ident >= 0:
            found[int(self.ident)] = int(self.pages)
        return found

    def belongs(self, ident: i64, within: "MemCgroup") -> bool:
        """Whether a group is ``within`` or below it."""
        return within.contains(self.groups[ident])

    def uncharge(self, ident: i64, nr_pages: i64) -> None:
        """The group has so many pages less."""
        self.groups[ident].sub(nr_pages)
