"""Strategies: what they are, how they are read from `strategies.toml`, and which runners they choose.

Belongs here: declarations and selection. Not here: stakes and money (`staking`, `ledger`).

No look-ahead: a "top 20% by edge" strategy cuts at the quantile of the edges of EARLIER folds. In the first fold, which
has none before it, the cut is the quantile over the runners of the same day: their entries and prices at the decision
time, never a result.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from velo_assets.betting.execution import Limits, Side
from velo_assets.betting.staking import PRESETS, Staking
from velo_assets.modelling.disruption import MODULES
from velo_assets.settings import PRICE_REGIMES

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MODULE_TOLERANCE = 1e-12
"""An offset this small is rounding of the race's sum, not an opinion."""

STRATEGIES_FILE = Path(__file__).with_name("strategies.toml")


class UnknownStrategyError(ValueError):
    """A strategy id that strategies.toml does not declare."""


@dataclass(frozen=True)
class Execution:
    """How orders meet the market: `none` matches everything at the price, as at SP; `exchange` goes through a book, the
    real one where its stream has landed, a synthetic one elsewhere."""

    book: Literal["none", "exchange"] = "none"
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Strategy:
    """One way to bet. The words of the fields are explained at the top of `strategies.toml`."""

    id: str
    name: str
    recipe: str
    top_share: float | None = None
    min_edge: float | None = None
    low_odds: float = 1.0
    high_odds: float = 1001.0
    above_market: bool = False
    convergence: int = 0
    min_field: int = 2
    max_field: int = 100
    codes: tuple[str, ...] = ()
    handicap: bool | None = None
    side: Side = "back"
    bet_type: Literal["win", "each-way"] = "win"
    settle_at: Literal["decision", "bsp"] = "decision"
    staking: Staking = field(default_factory=Staking)
    execution: Execution = field(default_factory=Execution)

    def __post_init__(self) -> None:
        problems = []
        if self.top_share is not None and not 0 < self.top_share <= 1:
            problems.append(f"top_share must be in (0, 1], got {self.top_share}")
        if not 1.0 <= self.low_odds < self.high_odds:
            problems.append(f"low_odds {self.low_odds} must be below high_odds {self.high_odds}, and at least 1")
        if self.convergence not in (0, 2, 3):
            problems.append(f"convergence must be 0, 2 or 3, got {self.convergence}")
        if self.side not in ("back", "lay"):
            problems.append(f"side must be back or lay, got {self.side!r}")
        if self.bet_type not in ("win", "each-way") or (self.bet_type == "each-way" and self.side == "lay"):
            problems.append(f"bet_type {self.bet_type!r} can't be used with side {self.side!r}")
        if self.settle_at not in ("decision", "bsp"):
            problems.append(f"settle_at must be decision or bsp, got {self.settle_at!r}")
        if self.execution.book not in ("none", "exchange"):
            problems.append(f"execution.book must be none or exchange, got {self.execution.book!r}")
        if self.staking.method == "kelly" and (self.side != "back" or self.bet_type != "win"):
            problems.append("kelly stakes are for win bets on the back side")
        if problems:
            raise ValueError(f"strategy {self.id!r}: " + "; ".join(problems))

    @property
    def definition_hash(self) -> str:
        """SHA-256 over everything that changes which bets are placed; id and name do not."""
        definition = {name: value for name, value in asdict(self).items() if name not in ("id", "name")}
        return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()

    def needs(self) -> list[str]:
        """Columns of the wide frame without which this strategy can't run."""
        columns = ["decision_price", "market_probability", f"probability_{self.recipe}"]
        columns += [f"module_{name}" for name in MODULES] if self.convergence else []
        columns += ["code"] if self.codes else []
        columns += ["is_handicap"] if self.handicap is not None or self.bet_type == "each-way" else []
        columns += ["bsp"] if self.settle_at == "bsp" else []
        return columns


def load_strategies(ids: Iterable[str] | None = None, path: Path = STRATEGIES_FILE) -> tuple[Strategy, ...]:
    """Read strategies.

    Args:
        ids: those wanted, in this order; None = all declared.
        path: the file.

    Returns:
        Strategies.

    Raises:
        UnknownStrategyError: an id that is not declared.
        ValueError: an id declared twice, an unknown field or a value that makes no sense; names file and strategy.
    """
    declared: dict[str, Strategy] = {}
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("strategy", []):
        strategy = _parse(entry, path)
        if strategy.id in declared:
            raise ValueError(f"{path.name}: strategy id {strategy.id!r} is declared twice")
        declared[strategy.id] = strategy
    if ids is None:
        return tuple(declared.values())
    wanted = list(ids)
    unknown = [name for name in wanted if name not in declared]
    if unknown:
        raise UnknownStrategyError(f"unknown strategy id {unknown[0]!r}; {path.name} declares: {', '.join(declared)}")
    return tuple(declared[name] for name in wanted)


def runnable(strategies: Sequence[Strategy], frame: pl.DataFrame) -> tuple[list[Strategy], dict[str, str]]:
    """Split strategies into those whose inputs are in the frame, and the reason for each of the others."""
    able, reasons = [], {}
    for strategy in strategies:
        missing = [
            name
            for name in strategy.needs()
            if name not in frame.columns or frame.get_column(name).null_count() == frame.height
        ]
        if missing:
            reasons[strategy.id] = f"no {', '.join(missing)} in the predictions"
        else:
            able.append(strategy)
    return able, reasons


class Selection:
    """Chooses runners of one wide frame for many strategies; the columns are read once."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self._columns: dict[str, FloatArray] = {}
        self._days = frame.get_column("race_date").to_numpy().astype("datetime64[D]").astype(np.int64)
        self._folds = (
            frame.get_column("fold").to_numpy().astype(np.int64)
            if "fold" in frame.columns
            else np.zeros(frame.height, np.int64)
        )
        self._field = self._field_size()

    def column(self, name: str) -> FloatArray:
        """A numeric column with NaN for null."""
        if name not in self._columns:
            self._columns[name] = self.frame.get_column(name).cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return self._columns[name]

    def probability(self, strategy: Strategy) -> FloatArray:
        """`(runners,)` the recipe's win probability."""
        return self.column(f"probability_{strategy.recipe}")

    def edge(self, strategy: Strategy) -> FloatArray:
        """`(runners,)` expected profit per unit of stake at the decision price; of the backer's stake for a lay."""
        back = self.probability(strategy) * self.column("decision_price") - 1.0
        return -back if strategy.side == "lay" else back

    def eligible(self, strategy: Strategy) -> BoolArray:
        """`(runners,)` runners the strategy considers: race rules, price band, agreement, floor of the edge."""
        price, edge = self.column("decision_price"), self.edge(strategy)
        # A price below 1.01 is let through: the ledger voids it with its reason instead of hiding it.
        mask = (
            np.isfinite(edge)
            & (price >= (strategy.low_odds if strategy.low_odds > 1.0 else -np.inf))
            & (price < strategy.high_odds)
        )
        mask &= (self._field >= strategy.min_field) & (self._field <= strategy.max_field)
        if strategy.codes:
            mask &= self.frame.get_column("code").is_in(list(strategy.codes)).fill_null(False).to_numpy()
        if strategy.handicap is not None:
            mask &= (self.frame.get_column("is_handicap") == strategy.handicap).fill_null(False).to_numpy()
        if strategy.above_market:
            mask &= self.probability(strategy) > self.column("market_probability")
        if strategy.convergence:
            mask &= self.agreement() >= strategy.convergence
        if strategy.min_edge is not None:
            mask &= edge > strategy.min_edge
        return mask

    def agreement(self) -> FloatArray:
        """`(runners,)` how many modules put the runner above the market; a module without an opinion does not agree."""
        agree = np.zeros(self.frame.height)
        for name in MODULES:
            agree += np.nan_to_num(self.column(f"module_{name}"), nan=0.0) > MODULE_TOLERANCE
        return agree

    def chosen(self, strategy: Strategy) -> BoolArray:
        """`(runners,)` runners bet on."""
        mask = self.eligible(strategy)
        if strategy.top_share is None:
            return mask
        return np.logical_and(mask, self.edge(strategy) >= self.cut(strategy, mask))

    def cut(self, strategy: Strategy, eligible: BoolArray) -> FloatArray:
        """`(runners,)` least edge that is bet on, from earlier folds only (first fold: from the runner's own day)."""
        share = 1.0 if strategy.top_share is None else strategy.top_share
        edge = self.edge(strategy)
        cut = np.full(len(edge), np.inf)
        for fold in np.unique(self._folds):
            rows = self._folds == fold
            earlier = edge[eligible & (self._folds < fold)]
            cut[rows] = (
                np.quantile(earlier, 1.0 - share)
                if len(earlier)
                else _day_quantile(edge, self._days, eligible & rows, 1.0 - share)[rows]
            )
        return cut

    def _field_size(self) -> NDArray[np.int64]:
        """Rows of each race, spread over its runners."""
        return self.frame.select(pl.len().over("race_key")).to_series().to_numpy().astype(np.int64)


def _day_quantile(edge: FloatArray, days: NDArray[np.int64], rows: BoolArray, level: float) -> FloatArray:
    """Quantile of the edge over the chosen rows of each day, spread over the rows; infinite where a day has none."""
    spread = np.full(len(edge), np.inf)
    chosen = np.flatnonzero(rows)
    if len(chosen):
        table = pl.DataFrame({"day": days[chosen], "edge": edge[chosen]}).select(
            pl.col("edge").quantile(level, interpolation="linear").over("day")
        )
        spread[chosen] = table.to_series().to_numpy()
    return spread


def _parse(entry: dict[str, Any], path: Path) -> Strategy:
    """One table of the file as a `Strategy`."""
    label = entry.get("id")
    if not isinstance(label, str) or not label:
        raise ValueError(f"{path.name}: a strategy without an id: {entry}")
    values = dict(entry)
    try:
        if (regime := values.pop("regime", None)) is not None:
            band = next((band for band in PRICE_REGIMES if band.name == regime), None)
            if band is None:
                raise ValueError(
                    f"unknown price regime {regime!r}; settings has {', '.join(band.name for band in PRICE_REGIMES)}"
                )
            values |= {"low_odds": band.low, "high_odds": band.high}
        if "staking" in values:
            values["staking"] = _staking(values["staking"])
        if "execution" in values:
            options = dict(values["execution"])
            book = options.pop("book", "none")
            values["execution"] = Execution(book, Limits(**_known(Limits, options)))
        values["codes"] = tuple(values.get("codes", ()))
        return Strategy(**({"name": label} | _known(Strategy, values)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path.name}: strategy {label!r}: {error}") from error


def _staking(values: dict[str, Any]) -> Staking:
    """A staking plan: its own, or a preset with what is said beside it."""
    options = dict(values)
    preset = options.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"unknown staking preset {preset!r}; known: {', '.join(PRESETS)}")
    return replace(PRESETS.get(preset, Staking()), **_known(Staking, options))


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """The values, when every name is a field of the dataclass."""
    names = [item.name for item in fields(kind)]
    unknown = [name for name in values if name not in names]
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}; known: {', '.join(names)}")
    return values
