"""Betfair exchange stream files: what the market said at set moments before the off, runner by runner.

Belongs here: replaying a file of `mcm` lines, plain or .bz2, into landing.streams. betfairlightweight keeps the order
book, as it does for a live stream; nothing connects to a network. Does not belong here: core.prices.

Memory is bounded by the order books of the markets that are open at one time: lines are read one by one, an order book
is dropped when its market closes, and of each moment six numbers a runner are kept.
"""

from __future__ import annotations

import bz2
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

import polars as pl

from velo_assets.ingestion.parsed import LayoutError, ParsedFile, Reject, rejects_frame

REASONS = {
    "not_json": "the line is not JSON",
    "not_market_data": "the line is not a market change (op mcm), connection or heartbeat line",
    "no_definition": "changes of a market before its definition; they can't be placed",
    "unreadable_update": "the market change lacks a part that every change has",
    "unreadable_market": "the market's definition lacks a part, or a part can't be read; the market is left out",
}
"""Reason codes of rejects."""

MINUTES_BEFORE = (60, 30, 10, 5, 1, 0)
"""Moments before the scheduled off, in minutes, at which the market is looked at."""

MAX_LINE_BYTES = 1 << 24
"""The first image of a hundred open markets is a few megabytes."""

MAX_LEADING_REJECTS = 100
"""A file that starts with more unreadable lines than this is no stream."""

STREAMS_SCHEMA: dict[str, pl.DataType] = {
    "market_id": pl.String(),
    "event_id": pl.String(),
    "venue": pl.String(),
    "country": pl.String(),
    "market_type": pl.String(),
    "market_name": pl.String(),
    "race_date": pl.Date(),
    "off_utc": pl.Datetime("us"),
    "selection_id": pl.Int64(),
    "horse_name": pl.String(),
    "sort_priority": pl.Int32(),
    "minutes_before": pl.Int32(),
    "published_utc": pl.Datetime("us"),
    "in_play": pl.Boolean(),
    "last_traded": pl.Float64(),
    "best_back": pl.Float64(),
    "best_back_size": pl.Float64(),
    "best_lay": pl.Float64(),
    "best_lay_size": pl.Float64(),
    "total_matched": pl.Float64(),
    "bsp": pl.Float64(),
    "runner_status": pl.String(),
    "removed_utc": pl.Datetime("us"),
    "won": pl.Int32(),
    "winners": pl.Int32(),
    "base_rate_percent": pl.Float64(),
}
"""Columns of landing.streams."""

_MINUTE_MS = 60_000
_DAMAGE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
"""What a part that is missing, or is something else than it should be, raises here or in betfairlightweight."""

_BOOKKEEPING_OPS = ("connection", "status", "authentication")


@dataclass(frozen=True)
class _Quote:
    """What one runner stood at."""

    last_traded: float | None = None
    best_back: float | None = None
    best_back_size: float | None = None
    best_lay: float | None = None
    best_lay_size: float | None = None
    total_matched: float | None = None


@dataclass(frozen=True)
class _Book:
    """A market at one moment; no quotes where the file starts after it."""

    published_ms: int | None = None
    in_play: bool | None = None
    quotes: dict[int, _Quote] = field(default_factory=dict)


@dataclass
class _Market:
    """A market: its last definition and the books seen at its moments."""

    definition: dict[str, Any]
    off_ms: int
    last_ms: int
    books: dict[int, _Book] = field(default_factory=dict)
    closed: bool = False

    def next_moment_ms(self) -> int | None:
        """Earliest moment whose book is still to be taken."""
        waiting = [self.off_ms - minutes * _MINUTE_MS for minutes in MINUTES_BEFORE if minutes not in self.books]
        return min(waiting, default=None)


def read_stream(path: Path) -> ParsedFile:
    """Replay one stream file, plain or .bz2, of one or several markets.

    The book of a moment is the state after the last change published at or before it. A moment that the file starts
    after has null prices; a file that ends before the off has its last state as one more moment, with the minutes that
    were left. When the scheduled off moves, the moments not yet past move with it.

    Returns:
        One row per market, runner and moment, columns of `STREAMS_SCHEMA`, removed runners included. `total_matched` is
        in the currency of the file, null where it carries no volumes. `won` is null until the market is settled.

    Raises:
        LayoutError: the file is empty, cut short, or no stream.
    """
    replay = _Replay()
    try:
        with _open(path) as handle:
            for number, line in _lines(handle):
                replay.take(number, line)
                if replay.changes == 0 and len(replay.rejects) > MAX_LEADING_REJECTS:
                    break
    except (EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The system's trouble; that of damaged bz2 data has no number.
        raise LayoutError(
            path, f"the bz2 file is damaged or cut short ({error}); copy it again, nothing of it has landed."
        ) from error
    if replay.changes == 0:
        why = f"; line {replay.rejects[0]['line_number']}: {replay.rejects[0]['reason']}" if replay.rejects else ""
        raise LayoutError(path, f"not an exchange stream: no line with op mcm and a market definition{why}.")
    rows = replay.rows()
    return ParsedFile(rows, rejects_frame(replay.rejects), "mcm")


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as handle:
        packed = handle.read(3) == b"BZh"
    return cast("IO[bytes]", bz2.open(path, "rb")) if packed else path.open("rb")


def _lines(handle: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := handle.readline(MAX_LINE_BYTES):
        number += 1
        if line.strip():
            yield number, line


class _Replay:
    """Feeds lines to a listener and takes the books of the moments as they pass."""

    def __init__(self) -> None:
        from betfairlightweight import StreamListener

        # max_latency None: a recorded line is years late. Register under 0: files carry ids of their own or none.
        self._listener = StreamListener(max_latency=None, lightweight=True, update_clk=False)
        self._listener.register_stream(0, "marketSubscription")
        self._markets: dict[str, _Market] = {}
        self._undefined: set[str] = set()
        self._due_ms: int | None = None
        self.rejects: list[Reject] = []
        self.changes = 0

    def take(self, number: int, line: bytes) -> None:
        """Apply one line, after taking every book whose moment lies before it."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            self._reject(number, line, "not_json")
            return
        if not isinstance(message, dict) or message.get("op") != "mcm":
            if not isinstance(message, dict) or message.get("op") not in _BOOKKEEPING_OPS:
                self._reject(number, line, "not_market_data")
            return
        try:
            published = int(message["pt"])
            changes = [change for change in message.get("mc") or [] if self._is_defined(number, line, change)]
            if self._due_ms is not None and self._due_ms < published:
                self._take_due_books(published)
            message["mc"] = [change for change in changes if not self._is_closed(change)]
            if message["mc"]:
                self._listener.on_data(json.dumps(message))
            for change in changes:
                self._note(change, published)
        except _DAMAGE as error:
            self._reject(number, line, "unreadable_update", f"{type(error).__name__}: {error}")

    def rows(self) -> pl.DataFrame:
        """Rows of every market, as its last definition leaves it; a market that makes none is rejected."""
        parts = [pl.DataFrame(schema=STREAMS_SCHEMA)]
        for market_id, market in self._markets.items():
            try:
                if market.last_ms < market.off_ms and not market.closed:
                    minutes_left = -(-(market.off_ms - market.last_ms) // _MINUTE_MS)
                    market.books.setdefault(minutes_left, self._book(market_id))
                parts.append(pl.DataFrame(list(_market_rows(market_id, market)), schema=STREAMS_SCHEMA, orient="row"))
            except (*_DAMAGE, pl.exceptions.PolarsError) as error:
                detail = f"market {market_id}: {type(error).__name__}: {str(error).splitlines()[0]}"
                self.rejects.append(
                    {"line_number": None, "raw_text": None, "reason": "unreadable_market", "detail": detail}
                )
        return pl.concat(parts)

    def _is_defined(self, number: int, line: bytes, change: dict[str, Any]) -> bool:
        market_id = change["id"]
        if "marketDefinition" in change or market_id in self._markets:
            return True
        if market_id not in self._undefined:
            self._undefined.add(market_id)
            self._reject(number, line, "no_definition", market_id)
        return False

    def _is_closed(self, change: dict[str, Any]) -> bool:
        market = self._markets.get(change["id"])
        return market is not None and market.closed

    def _note(self, change: dict[str, Any], published: int) -> None:
        market_id = change["id"]
        definition = change.get("marketDefinition")
        if definition is not None:
            off_ms = _milliseconds(definition["marketTime"])
            market = self._markets.setdefault(market_id, _Market(definition, off_ms, published))
            if off_ms != market.off_ms:
                market.off_ms = off_ms
                market.books = {
                    minutes: book for minutes, book in market.books.items() if off_ms - minutes * _MINUTE_MS < published
                }
            market.definition = definition
            if (first := market.next_moment_ms()) is not None:
                self._due_ms = first if self._due_ms is None else min(self._due_ms, first)
        market = self._markets[market_id]
        self.changes += 1
        if market.closed:
            return
        market.last_ms = published
        if market.definition.get("status") == "CLOSED":
            market.closed = True
            self._listener.stream._caches.pop(market_id, None)

    def _take_due_books(self, published: int) -> None:
        for market_id, market in self._markets.items():
            if market.closed:
                continue
            due = [
                minutes
                for minutes in MINUTES_BEFORE
                if minutes not in market.books and market.off_ms - minutes * _MINUTE_MS < published
            ]
            if due:
                book = self._book(market_id)
                market.books.update((minutes, _as_of(book, market.off_ms - minutes * _MINUTE_MS)) for minutes in due)
        moments = [market.next_moment_ms() for market in self._markets.values() if not market.closed]
        self._due_ms = min((moment for moment in moments if moment is not None), default=None)

    def _book(self, market_id: str) -> _Book:
        snapped = self._listener.snap(market_ids=[market_id])
        if not snapped:
            return _Book()
        quotes = {
            runner["selectionId"]: _Quote(
                _odds(runner["lastPriceTraded"]),
                *_best(runner["ex"]["availableToBack"]),
                *_best(runner["ex"]["availableToLay"]),
                _matched(runner),
            )
            for runner in snapped[0]["runners"]
            if runner["status"] != "REMOVED"
        }
        return _Book(snapped[0]["publishTime"], snapped[0]["inplay"], quotes)

    def _reject(self, number: int, line: bytes, reason: str, detail: str | None = None) -> None:
        text = line[:1000].decode("utf-8", errors="replace").replace("\0", " ").rstrip()
        self.rejects.append({"line_number": number, "raw_text": text, "reason": reason, "detail": detail})


def _as_of(book: _Book, moment_ms: int) -> _Book:
    """The book, or an empty one when the file only starts after the moment."""
    return book if book.published_ms is not None and book.published_ms <= moment_ms else _Book()


def _market_rows(market_id: str, market: _Market) -> Iterator[tuple[object, ...]]:
    definition = market.definition
    off = _utc(market.off_ms)
    race_date = pl.select(
        pl.lit(off).dt.replace_time_zone("UTC").dt.convert_time_zone(definition.get("timezone") or "UTC").dt.date()
    ).item()
    for minutes in sorted({*MINUTES_BEFORE, *market.books}, reverse=True):
        book = market.books.get(minutes, _Book())
        for runner in definition["runners"]:
            quote = book.quotes.get(runner["id"], _Quote())
            yield (
                market_id,
                definition.get("eventId"),
                definition.get("venue"),
                definition.get("countryCode"),
                definition.get("marketType"),
                definition.get("name"),
                race_date,
                off,
                runner["id"],
                runner.get("name"),
                runner.get("sortPriority"),
                minutes,
                None if book.published_ms is None else _utc(book.published_ms),
                book.in_play,
                quote.last_traded,
                quote.best_back,
                quote.best_back_size,
                quote.best_lay,
                quote.best_lay_size,
                quote.total_matched,
                _odds(runner.get("bsp")),
                runner.get("status"),
                _utc(_milliseconds(runner["removalDate"])) if runner.get("removalDate") else None,
                {"WINNER": 1, "LOSER": 0}.get(runner.get("status", "")),
                definition.get("numberOfWinners"),
                definition.get("marketBaseRate"),
            )


def _odds(value: object) -> float | None:
    """Decimal odds above 1; the stream writes `NaN` and `Infinity` for a starting price that never formed."""
    try:
        odds = float(cast("float", value))
    except (TypeError, ValueError):
        return None
    return odds if 1.0 < odds < float("inf") else None


def _best(ladder: list[dict[str, float]] | None) -> tuple[float | None, float | None]:
    """Price and money at the best step; the money is in the currency of the file, null where it names none."""
    if not ladder or (price := _odds(ladder[0]["price"])) is None:
        return None, None
    return price, float(ladder[0].get("size") or 0) or None


def _matched(runner: dict[str, Any]) -> float | None:
    """Sum of the traded ladder, which every full file has; else the runner's own total; null without volumes."""
    traded = sum(step["size"] for step in runner.get("ex", {}).get("tradedVolume") or [])
    return float(traded or runner.get("totalMatched") or 0) or None


def _milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def _utc(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).replace(tzinfo=None)
