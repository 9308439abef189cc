"""What a change of shares does to traffic, in words."""

from __future__ import annotations

from headrace.inference.v1.routes_pb2 import Route

#: Who answers where no route says so.
HOUSE = "the default of the house"


def shares_of(route: Route) -> dict[str, float]:
    """Each variant's share of a route's traffic, the largest first."""
    total = sum(arm.weight for arm in route.arms) or 1.0
    shares: dict[str, float] = {}
    for arm in sorted(route.arms, key=lambda arm: -arm.weight):
        name = f"{arm.variant.name} {arm.variant.version}"
        shares[name] = shares.get(name, 0.0) + arm.weight / total
    return shares


def affected(before: Route | None, after: Route) -> str:
    """Whom a change concerns: how much of a kind's traffic goes to whom it did not before.

    Weighted rendezvous hashing moves no more than what the shares differ by.
    """
    was, now = shares_of(before) if before else {HOUSE: 1.0}, shares_of(after)
    gained = {name: share - was.get(name, 0.0) for name, share in now.items() if share > was.get(name, 0.0) + 1e-9}
    whose = "all queries without a route of their own" if after.kind == "*" else f"{after.kind} queries"
    if not gained:
        return f"Nobody's variant changes: {whose} go on as before."
    to = ", ".join(f"{percent(share)} to {name}" for name, share in gained.items())
    moved = percent(sum(gained.values()))
    return f"Of {whose}, conversations under way among them, about {moved} move: {to}. Before: {_names(was)}."


def _names(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} ({percent(share)})" for name, share in shares.items())


def percent(share: float) -> str:
    """ "10 %"; "0.5 %" where whole numbers would say too little."""
    return f"{share * 100:.0f} %" if share >= 0.0995 or not share else f"{share * 100:.2g} %"
