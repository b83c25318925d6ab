"""What each column of the tables of the layer `backtest` is, with its unit: shown in the UI, stored as comments.

Belongs here: words, and which columns a column is made of. Not here: types and order, which stand where a table is
made (`ledger.LEDGER`, `metrics.STRATEGY_TABLE`, ...).

Money is in the unit of the stakes; returns are fractions of the turnover, -1 = everything lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from velo_assets.betting.error_map import TAG_COLUMNS
from velo_assets.betting.predictions import NAME_COLUMNS, RACE_COLUMNS
from velo_assets.warehouse.sql_table import Column, load_table

MadeOf = Mapping[str, Sequence[tuple[str, str]]]
"""Column to the (`schema/table`, column) pairs it is made of."""

_MONEY = "money"
_ODDS = "decimal odds"
_SHARE = "1 = 100%"

_AS_THEY_ARE = {
    "core/races": ("race_date", "race_key", *RACE_COLUMNS),
    "core/entries": ("runner_key", *NAME_COLUMNS),
    "features/runner_features": tuple(
        name for name in TAG_COLUMNS if name not in ("market_probability", "steam_today")
    ),
}
"""Columns of the predictions that another table has under the same name, whose words are its own."""

_RECIPES = {
    "market": "the market at the decision price, its margin taken out",
    "market_beta": "the market alone, its exponent fitted on earlier years",
    "fundamental": "the price-free model",
    "benter": "Benter's blend with alpha = beta = 1",
    "blend": "Benter's blend, its exponents fitted on earlier years",
    "experts": "market and gated experts",
}

_PREDICTIONS = (
    Column("position_in_frame", "row number: the order of time, in which bets are placed", ""),
    Column("fold", "year scored, by models of earlier years", ""),
    *(Column(f"probability_{name}", f"win probability by {words}", "probability") for name, words in _RECIPES.items()),
    Column("decision_price", "price at which bets are chosen", _ODDS),
    Column("price_kind", "kind of the decision price", ""),
    Column("market_probability", "win probability by the decision price, its margin taken out", "probability"),
    Column("closing_price", "starting price", _ODDS),
    Column("bsp", "Betfair starting price", _ODDS),
    Column("tie_offset", "TIE, intent: against the market; positive = better than its price", "log-odds"),
    Column("nds_offset", "NDS, over-betting: against the market; negative = over-bet", "log-odds"),
    Column("module_sqpe", "log of SQPE's probability over the market's; positive = better than its price", "log ratio"),
    Column("module_tie", "log of TIE's probability over the market's; likewise", "log ratio"),
    Column("module_nds", "log of NDS's probability over the market's; likewise", "log ratio"),
    Column("settles", "bets on the runner settle; null without a result of its own", ""),
    Column("unsettled_reason", "why they don't", ""),
    Column("weighed_in_position", "position as at weigh-in; null for non-finishers", ""),
    Column("win_share", "part of the win: 1 won, 1/n in a dead heat of n, 0 lost", "0-1"),
    Column("tied_runners", "runners that hold the position, 1 when alone", "runners"),
    Column("winners", "winners of the race", "runners"),
    Column("race_known", "the race has a result", ""),
    Column("steam_today", "log of opening show over decision price; positive = backed", "log ratio"),
)

_MODELS = ("backtest/walk_forward", "probability")
_MARKET = ("market/probabilities", "probability")
_PRICE = ("market/probabilities", "decimal_odds")
_TIE, _NDS = ("models/intent", "offset"), ("models/disruption", "offset")
_WINNER = (("core/results", "won"), ("core/results", "position"), ("core/results", "dead_heat_runners"))

PREDICTIONS_MADE_OF: MadeOf = {
    **{name: ((table, name),) for table, names in _AS_THEY_ARE.items() for name in names},
    **{f"probability_{name}": (_MODELS,) for name in _RECIPES},
    "probability_market": (_MARKET,),
    "probability_benter": (_MODELS, _MARKET),
    "fold": (("backtest/walk_forward", "fold"),),
    "decision_price": (_PRICE,),
    "price_kind": (("market/probabilities", "price_kind"),),
    "market_probability": (_MARKET,),
    "closing_price": (_PRICE,),
    "bsp": (("core/prices", "decimal_odds"),),
    "tie_offset": (_TIE,),
    "nds_offset": (_NDS,),
    "module_sqpe": (_MODELS, _MARKET),
    "module_tie": (_TIE, _MARKET),
    "module_nds": (_NDS, _MARKET),
    "weighed_in_position": (("core/results", "position"),),
    "tied_runners": (("core/results", "position"),),
    **dict.fromkeys(("settles", "unsettled_reason", "win_share", "winners"), _WINNER),
    "race_known": (("core/results", "race_key"),),
    "steam_today": (("core/prices", "decimal_odds"),),
}

BETS = (
    Column("strategy_id", "id in strategies.toml", ""),
    Column("race_date", "day of the race", ""),
    Column("race_key", "race", ""),
    Column("runner_key", "runner", ""),
    Column("fold", "year scored, by models of earlier years", ""),
    Column("recipe", "whose probability decided", ""),
    Column("side", "back or lay", ""),
    Column("bet_type", "win or each-way", ""),
    Column("price_kind", "kind of the decision price; bsp of a bet that settles there", ""),
    Column("book", "what took the order: price (in full), exchange, last traded or synthetic", ""),
    Column("ordered_at", "when the order was sent, UTC; null where its price forms at the off", ""),
    Column("decision_price", "price at which the bet was chosen", _ODDS),
    Column("closing_price", "starting price", _ODDS),
    Column("probability", "win probability by the recipe", "probability"),
    Column("market_probability", "win probability by the decision price, its margin taken out", "probability"),
    Column("edge", "expected profit per unit of stake at the decision price; of a lay, of the backer's stake", _SHARE),
    Column("requested_stake", "stake wanted; of a lay, the backer's stake", _MONEY),
    Column("stake", "what was matched of it, 0 when nothing was", _MONEY),
    Column("matched_price", "price taken; null when nothing was matched", _ODDS),
    Column("bankroll", "money at the start of the day; null for stakes that do not depend on it", _MONEY),
    Column("status", "won, placed, lost, void or unmatched; only the first three are in totals", ""),
    Column("reason", "why the order was void, not matched, or matched in part", ""),
    Column("win_share", "part of the win: 1 won, 1/n in a dead heat of n, 0 lost", "0-1"),
    Column("rule4_pence", "deduction from the winnings for withdrawn runners", "pence in the pound"),
    Column("gross_profit", "profit before commission", _MONEY),
    Column("commission", "share of the commission on the net winnings in the race", _MONEY),
    Column("return", "what comes back, stake (of a lay: liability) and winnings, after commission", _MONEY),
    Column("profit", "profit after commission", _MONEY),
    Column("code", "flat, all-weather, hurdle, chase or bumper", ""),
    Column("course", "racecourse", ""),
    Column("race_class", "class 1 (best) to 7, where races carry one", ""),
    Column("field_size", "runners of the race", "runners"),
    Column("is_handicap", "the race is a handicap", ""),
)

_OF_PREDICTIONS = (
    *("race_date", "race_key", "runner_key", "fold", "price_kind", "decision_price", "closing_price"),
    *("market_probability", "win_share", "code", "course", "race_class", "field_size", "is_handicap"),
)
_SETTLED = tuple(("backtest/predictions", name) for name in ("win_share", "weighed_in_position", "decision_price"))

BETS_MADE_OF: MadeOf = {
    **{name: (("backtest/predictions", name),) for name in _OF_PREDICTIONS},
    **dict.fromkeys(("status", "gross_profit", "return", "profit"), _SETTLED),
    "ordered_at": (("landing/streams", "off_utc"),),
}
"""Besides, `probability` and `edge` are made of the probability of the recipe that the row names."""

_INTERVAL = "end of its 95% interval by race day, corrected for skewness"

_SUMS = (
    Column("bets", "orders settled as won, placed or lost", "bets"),
    Column("wins", "winners among the runners bet on, dead heats in part", "runners"),
    Column("expected_wins", "winners that the market's probabilities let expect of them", "runners"),
    Column("turnover", "money matched on the bets; of lays, the backers'", _MONEY),
    Column("profit", "profit after commission", _MONEY),
    Column("roi", "profit over turnover", _SHARE),
    Column("roi_low", f"lower {_INTERVAL}; null where the days show no spread", _SHARE),
    Column("roi_high", "upper end", _SHARE),
    Column("a_over_e", "winners over expected winners; for lays below 1 is good", "ratio"),
)

STRATEGIES = (
    Column("strategy_id", "id in strategies.toml", ""),
    Column("name", "name in strategies.toml", ""),
    Column("price_kind", "kind of the decision price; bsp of bets that settle there", ""),
    Column("orders", "orders sent, also those that do not count", "orders"),
    Column("void", "orders that were void", "orders"),
    Column("unmatched", "orders of which nothing was matched", "orders"),
    *_SUMS,
    Column("win_rate", "bets won over bets; a lay is won when its runner is beaten", _SHARE),
    Column("mean_odds", "mean of the prices taken", _ODDS),
    Column("roi_se", "standard error of the ROI", _SHARE),
    Column("roi_commission_2", "ROI with 2% commission on the net winnings of each race", _SHARE),
    Column("roi_commission_5", "ROI with 5%", _SHARE),
    Column("a_over_e_low", f"lower {_INTERVAL}", "ratio"),
    Column("a_over_e_high", "upper end", "ratio"),
    Column("archie", "N (W - E)^2 / (E (N - E)): chi-square with 1 degree of freedom when the market is right", ""),
    Column("archie_p", "chance of an Archie as large when the market is right", "probability"),
    Column(
        "closing_line_value",
        "price taken over SP, less 1, by stake; null when the price taken is a closing one",
        _SHARE,
    ),
    Column("sharpe", "mean over standard deviation of the daily profit, annualised", ""),
    Column("max_drawdown", "largest fall of the cumulated profit from its peak, by day", _MONEY),
    Column("max_drawdown_share", "the same over the turnover", _SHARE),
    Column("longest_losing_run", "longest run of bets without a profit, in the order of time", "bets"),
    Column("race_days", "days with a bet", "days"),
    Column("trials", "K: variants ever tried on races of these days", "variants"),
    Column("best_of_k_median", "ROI that the best of K without skill shows half the time; null for each-way", _SHARE),
    Column("best_of_k_95", "ROI that it passes once in twenty times; likewise", _SHARE),
    Column("beats_best_of_k", "the ROI is above that; null where there is no luck to beat, or it is not known", ""),
)

BREAKDOWNS = (
    Column("strategy_id", "id in strategies.toml", ""),
    Column("dimension", "what the bets are cut by: year, code, course, race_class, price_band or month", ""),
    Column("group", "which year, course, ...", ""),
    *_SUMS,
    Column(
        "best_of_k_95",
        "ROI that the best of K times the strategy's groups passes once in twenty times without skill",
        _SHARE,
    ),
)

ERROR_MAP = (
    Column("module", "sqpe, tie or nds", ""),
    Column("tag", "its picks (runners it puts above the market), or a story told about runners", ""),
    Column("runners", "runners of the cell", "runners"),
    Column("predicted", "mean win probability by the module", "probability"),
    Column("actual", "share of them that won", "0-1"),
    Column("bias", "predicted less actual; positive = optimistic", "probability"),
    Column("standard_error", "of the bias, by race day", "probability"),
    Column("z", "bias over its standard error", ""),
    Column("holm_p", "p-value after Holm's correction over all cells", "probability"),
    Column("verdict", "optimistic or conservative; null where it may be chance", ""),
)

CONVERGENCE = (
    Column("modules_above", "how many of SQPE, TIE and NDS put the runner above the market", "modules"),
    Column("runners", "runners on which all three speak", "runners"),
    Column("wins", "winners among them, dead heats in part", "runners"),
    Column("expected_wins", "winners that the market's probabilities let expect", "runners"),
    Column("a_over_e", "winners over expected winners", "ratio"),
    Column("a_over_e_low", f"lower {_INTERVAL}", "ratio"),
    Column("a_over_e_high", "upper end", "ratio"),
    Column("roi", "return of one unit on each at the decision price", _SHARE),
    Column("roi_low", f"lower {_INTERVAL}", _SHARE),
    Column("roi_high", "upper end", _SHARE),
)

MODULE_SCORES = (
    Column("module", "sqpe, tie or nds; it says yes to runners it puts above the market", ""),
    Column("runners", "runners on which it speaks", "runners"),
    Column("tp", "yes, and won", "runners"),
    Column("fp", "yes, and lost", "runners"),
    Column("tn", "no, and lost", "runners"),
    Column("fn", "no, and won", "runners"),
    Column("precision", "share of winners among those it said yes to", "0-1"),
    Column("recall", "share of the winners that it said yes to", "0-1"),
    Column("f1", "harmonic mean of precision and recall", "0-1"),
    Column("base_rate", "share of winners among all", "0-1"),
    Column("expected_precision", "what the market expected of those it said yes to", "probability"),
)

COMPARISON = (
    Column("run_a", "stored run compared with", ""),
    Column("run_b", "stored run on trial", ""),
    Column("measure", "r2 (of a recipe, paired by race) or roi (of a strategy, paired by race day)", ""),
    Column("name", "recipe or strategy", ""),
    Column("cases", "races, or bets of run b", "races or bets"),
    Column("value_a", "R2 or ROI of run a", _SHARE),
    Column("value_b", "R2 or ROI of run b", _SHARE),
    Column("difference", "b less a", _SHARE),
    Column("low", "lower end of its 95% interval, race-day bootstrap", _SHARE),
    Column("high", "upper end", _SHARE),
)

TRIALS = (
    Column("data_fingerprint", "hash of the races bet on: their days, number and keys", ""),
    Column("definition_hash", "the variant: hash of the strategy's definition and of the models it relied on", ""),
    Column("strategy_id", "id in strategies.toml when it was run", ""),
    Column("name", "name of the strategy when it was run", ""),
    Column("first_run_at", "when it was first run on these races, UTC", ""),
    Column("last_run_at", "when it was last run on these races, UTC", ""),
    Column("runs", "times it was run on these races", "runs"),
    Column("first_race", "first day of the races bet on; null in rows from before it was noted", ""),
    Column("last_race", "last day of the races bet on; likewise", ""),
)


def prediction_columns(present: Iterable[str]) -> tuple[Column, ...]:
    """Words of the columns that the predictions have: which recipes, prices and tags there are depends on the data."""
    words = {column.name: column for column in _PREDICTIONS}
    for table, names in _AS_THEY_ARE.items():
        words |= {column.name: column for column in load_table(table).columns if column.name in names}
    return tuple(words[name] for name in present)
