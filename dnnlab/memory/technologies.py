"""Memory technologies for a budget: what capacity it buys of each, for how large a model, and how fast that answers.

Why is VRAM smaller than RAM? It is much faster, and a byte of it costs more. Prices move, so every price here is an
input: given by hand, or a dated figure of the catalogue with its source and with how little it may be trusted. Where
nobody published a price, none is made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from ..errors import DnnlabError, ExtentError, quote, unknown
from ..hardware import Fact, Technology, device, memories
from ..networks import Network
from ..quantities import bytes_of, positive, show
from ..tables import Column, Table
from .placement import weights_read
from .sizes import bytes_for

YARDSTICK = "ddr5"


@dataclass(frozen=True)
class Price:
    """Dollars a GB (10**9 bytes) of a technology, with where the figure comes from, its date and how sure it is."""

    dollars: float
    source: str
    date: str = ""
    confidence: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.source, self.date, self.confidence)))


@dataclass(frozen=True)
class Offer:
    """What a budget buys of one technology.

    `bandwidth` is that of the fastest device of the catalogue that uses it (`example`), however much is bought.
    `weights`: bytes that one pass reads of the model at hand, or of the largest that fits (`largest` parameters).
    """

    technology: Technology
    price: Price
    capacity: float
    largest: int
    bandwidth: float | None
    example: str
    weights: float
    fits: bool

    @property
    def tokens(self) -> float | None:
        """Tokens a second of a decoder with one sample at best: each token reads the weights once; None where the model
        does not fit or the bandwidth is not known."""
        if not self.fits or self.bandwidth is None or not self.weights:
            return None
        return self.bandwidth / self.weights


@dataclass(frozen=True)
class Budget:
    """What a budget in dollars buys of each technology."""

    dollars: float
    dtype: str
    model: str
    offers: tuple[Offer, ...]

    def __getitem__(self, id: str) -> Offer:
        """The offer of a technology, such as "ddr5"."""
        for offer in self.offers:
            if offer.technology.id == id:
                return offer
        raise unknown("technology with a price", id, [offer.technology.id for offer in self.offers])

    def table(self) -> Table:
        """A row for each technology."""
        columns = (
            Column("technology", "technology"),
            Column("price", "$/GB"),
            Column("source", "price from"),
            Column("capacity", "capacity", "B"),
            Column("largest", "largest model", show=lambda x: f"{show(x, '')} parameters"),
            Column("bandwidth", "bandwidth", "B/s"),
            Column("example", "of one"),
            Column("tokens", "tokens/s"),
        )
        rows = [
            (
                o.technology.name,
                o.price.dollars,
                str(o.price),
                o.capacity,
                o.largest,
                o.bandwidth,
                o.example or None,
                o.tokens,
            )
            for o in self.offers
        ]
        what = self.model or "the largest model that fits"
        return Table(columns, rows, f"{self.dollars:,.0f} $ of memory, {what} in {self.dtype}", self.sentence())

    def _repr_html_(self) -> str:
        return self.table().html()

    def sentence(self) -> str:
        """The trade in words: most room against most speed."""
        roomy = max(self.offers, key=lambda offer: offer.capacity)
        text = f"{self.dollars:,.0f} $ buy most room in {roomy.technology.name}: {show(roomy.capacity, 'B')}."
        timed = [offer for offer in self.offers if offer.bandwidth is not None]
        if timed:
            fast = max(timed, key=lambda offer: offer.bandwidth or 0)
            text += (
                f" The fastest is {fast.technology.name}, {show(fast.capacity, 'B')} at {show(fast.bandwidth, 'B/s')}"
            )
            if roomy.bandwidth and fast is not roomy:
                text += (
                    f": {float(fast.bandwidth or 0) / roomy.bandwidth:.3g} times the speed at "
                    f"{fast.price.dollars / roomy.price.dollars:.3g} times the price a GB"
                )
            text += "."
        return text


def price(technology: str, prices: Mapping[str, float | str] | None = None) -> Price | None:
    """The price of a GB: as given in `prices`, else the published one (the middle of a range), else the published ratio
    to DDR5 times the price of DDR5; None where there is neither. Raises `UnknownNameError` for an unknown technology.

    >>> price("ddr5")
    Price(dollars=1.75, source='asiatechfeed.com 2026', date='2026', confidence='low-trust')
    >>> price("hbm3", {"ddr5": "2 $/GB"})
    Price(dollars=12, source='6 × DDR5 (ainews.cool 2026-05)', date='2026-05', confidence='low-trust')
    >>> price("gddr6") is None
    True
    """
    own, found = _checked(prices), _technology(technology)
    if technology in own:
        return Price(own[technology], "given")
    facts: dict[str, Fact] = {fact.name: fact for fact in found.facts}
    if "price_per_gb" in facts:
        low = facts["price_per_gb"]
        high = facts.get("price_per_gb_high", low)
        return Price((low.value + high.value) / 2, "; ".join(low.source), low.date, low.confidence)
    if "relative_price" in facts and technology != YARDSTICK:
        fact, base = facts["relative_price"], price(YARDSTICK, own)
        if base is not None:
            source = f"{fact.value:g} × DDR5 ({'; '.join(fact.source)})"
            return Price(fact.value * base.dollars, source, fact.date, fact.confidence)
    return None


def compare(prices: Mapping[str, float | str] | None = None) -> Table:
    """Bandwidth and price of every technology, against DDR5: why VRAM is smaller than RAM.

    The bandwidth is that of the fastest device of the catalogue which uses it, as a whole: for DDR5 a server of twelve
    channels. Ratios are left out where a price or a bandwidth is not known. SRAM is part of a chip and not for sale.

    >>> row = next(row for row in compare().records() if row["technology"] == "HBM3")
    >>> round(row["faster"], 1), row["dearer"]
    (7.3, 6.0)
    """
    base, speed = price(YARDSTICK, prices), _fastest(_technology(YARDSTICK))[1]
    rows = []
    for found in memories():
        if found.id == "sram":
            continue
        cost, (example, rate) = price(found.id, prices), _fastest(found)
        faster = rate / speed if rate and speed else None
        dearer = cost.dollars / base.dollars if cost and base else None
        dollars, source = (cost.dollars, str(cost)) if cost else (None, None)
        rows.append((found.name, found.place, rate, example or None, faster, dollars, dearer, source))
    columns = (
        "technology",
        "place",
        Column("bandwidth", "bandwidth", "B/s"),
        Column("example", "of"),
        Column("faster", "× DDR5"),
        Column("price", "$/GB"),
        Column("dearer", "× DDR5"),
        Column("source", "price from"),
    )
    return Table(columns, rows, "Memory technologies", "Prices are orders of magnitude: give your own.")


def afford(
    budget: float | str,
    technologies: Iterable[str] | None = None,
    prices: Mapping[str, float | str] | None = None,
    net: Network | None = None,
    dtype: str = "fp16",
) -> Budget:
    """What a budget in dollars buys of each memory technology, how large a model that holds, and how many tokens a
    second a decoder in it can give at best.

    `technologies` are ids of `hardware.memories()` (None: all that have a price); `prices` in dollars a GB by id, over
    those of the catalogue; `net`: ask about this network (of length 1 for tokens a second) instead of the largest model
    that fits. A budget buys memory alone:
    no board, no processor. Raises `ExtentError` for a technology without a price (give one) and for a budget that is
    not positive.

    >>> bought = afford(1000, ["hbm3e", "ddr5"])
    >>> [(offer.technology.name, round(offer.capacity / 1e9)) for offer in bought.offers]
    [('HBM3e', 111), ('DDR5', 571)]
    >>> print(bought.sentence())
    1,000 $ buy most room in DDR5: 571 GB. The fastest is HBM3e, 111 GB at 8 TB/s: 17.4 times the speed at 5.14 times \
the price a GB.
    """
    dollars = positive(budget, "$", "budget")
    width = bytes_of(dtype)
    own = _checked(prices)
    if net is not None and not isinstance(net, Network):
        raise DnnlabError(f"expected a network, got {quote(net)}")
    if isinstance(technologies, str):
        technologies = [technologies]
    if technologies is not None and not isinstance(technologies, Iterable):
        raise DnnlabError(f"technologies = {quote(technologies)}: expected ids such as ['hbm3e', 'ddr5']")
    names = [m.id for m in memories()] if technologies is None else list(technologies)
    offers = []
    for name in names:
        found, cost = _technology(name), price(name, own)
        if cost is None:
            if technologies is None:
                continue
            raise ExtentError(f"nobody published a price of {found.name}: give one, prices={{{name!r}: 5}} in $/GB")
        room = Fraction(dollars) / Fraction(cost.dollars) * 10**9
        capacity = positive(room, "B", f"capacity of {found.name}")
        largest = int(Fraction(capacity) // Fraction(width))
        example, rate = _fastest(found)
        needed = capacity if net is None else bytes_for(net.parameters, dtype)
        weights = capacity if net is None else bytes_for(sum(weights_read(n.layer) for n in net.layers), dtype)
        fits = bool(needed <= capacity)
        offers.append(Offer(found, cost, capacity, largest, rate, example, float(weights), fits))
    if not offers:
        raise ExtentError("no technology to buy: name some, such as ['hbm3e', 'ddr5']")
    return Budget(dollars, dtype, net.name if net is not None else "", tuple(offers))


def _fastest(technology: Technology) -> tuple[str, float | None]:
    """The device that uses a technology with the most bandwidth, and that bandwidth; the technology's own name where
    the figure is its own."""
    rates = technology.bandwidths
    if not rates:
        return "", None
    id = max(rates, key=lambda id: rates[id])
    return (device(id).name if id in technology.devices else technology.name), rates[id]


def _technology(name: object) -> Technology:
    found = {technology.id: technology for technology in memories()}
    if not isinstance(name, str) or name not in found:
        raise unknown("memory technology", name, found)
    return found[name]


def _checked(prices: Mapping[str, float | str] | None) -> dict[str, float]:
    if prices is not None and not isinstance(prices, Mapping):
        raise DnnlabError(f"prices = {quote(prices)}: expected dollars a GB by technology, such as {{'ddr5': 2}}")
    return {_technology(name).id: positive(value, "$/GB", f"price of {name}") for name, value in (prices or {}).items()}
