"""The golden cases of operators that keep rows by key: what DuckDB keeps of the same rows."""

import numpy as np
import pandas as pd

from oracles import SECOND, lines, make_ticks, nanoseconds, plain, rows_of, sql
from windows import hops, in_disorder, last, place, table

SECTORS = {"A": "gas", "B": "oil", "C": "oil", "D": "gas", "E": "gas", "F": "oil", "G": "gas", "H": "oil"}


def by_name(rows, *names):
    """The rows in the order of the texts of these columns, as the tests put them."""
    return sorted(rows_of(rows), key=lambda row: [plain(row[name]) for name in names])


def busy_ticks(rng, rows, symbols):
    """Ticks in disorder, some at the same time, some without a price."""
    ticks = make_ticks(rng, rows, symbols)
    ticks["timestamp"] = ticks.timestamp.dt.floor("s")
    ticks["price"] = np.round(ticks.price).astype(object).where(rng.random(rows) >= 0.1, None)
    ticks["volume"] = rng.integers(1, 40, rows)
    return in_disorder(rng, ticks, 20)


def newest(rows, *key):
    by = ", ".join(key)
    return f"select * from {rows} qualify row_number() over (partition by {by} order by timestamp desc, seq desc) = 1"


def latest(folder, rng):
    ticks = busy_ticks(rng, 400, "ABCDEFGH")
    ticks["venue"] = rng.choice(["x", "y", "Y", None], len(ticks), p=[0.4, 0.3, 0.2, 0.1])
    # Some have not traded for long.
    behind = ticks.timestamp.max() - ticks.timestamp
    ticks = ticks[~(ticks.symbol.isin(list("DEF")) & (behind < np.timedelta64(3, "m")))].reset_index(drop=True)
    folder.put("ticks.jsonl", lines(rows_of(ticks)))
    table("ticks", "select * exclude (price), price::double as price from read", read=place(ticks))
    columns = "symbol, timestamp, price, volume, venue"
    rows = sql(f"select {columns} from ({newest('ticks', 'symbol')})")
    folder.expect("newest.jsonl", by_name(rows, "symbol"))
    folder.expect("dear.jsonl", by_name(sql("select symbol, price from rows where price > 100", rows=rows.df()), "symbol"))
    passed = sql("select max(timestamp) - interval 20 second from ticks").fetchall()[0][0]
    table("named", "select *, upper(venue) as name from ticks where venue is not null")
    of_late = f"{newest('named', 'symbol', 'name')} and max(timestamp) over (partition by symbol, name) > $passed - interval 30 second"
    of_late = of_late.replace("$passed", f"timestamp '{passed}'")
    rows = sql(f"select {columns} from ({of_late})")
    folder.expect("of-late.jsonl", by_name(rows, "symbol", "venue"))
    bars = f"""select symbol, start, "end", {last("price")} as close, count(*) as n from {hops("ticks", 10)}
               group by all order by "end", symbol"""
    folder.expect("bars.jsonl", sql(bars))


def idle(folder, rng):
    ticks = make_ticks(rng, 240, "ABCDEFGHIJKL")
    folder.put("ticks.jsonl", lines(rows_of(ticks)))
    table("ticks", "select *, row_number() over (order by timestamp) as line from read", read=ticks)
    # A symbol begins anew behind 20 s without a row.
    gaps = "select *, timestamp - lag(timestamp) over (partition by symbol order by line) >= interval 20 second as anew from ticks"
    runs = f"select *, count(*) filter (anew) over (partition by symbol order by line) as run from ({gaps})"
    means = f"""select symbol, timestamp, line, count(*) over last_3 as n, avg(price) over last_3 as mean_3 from ({runs})
                window last_3 as (partition by symbol, run order by line rows 2 preceding)"""
    rows = sql(f"select symbol, timestamp, mean_3 from ({means}) where n = 3 order by line")
    assert 0 < len(rows.df()) < 200, "some are back, and some are warm"
    folder.expect("out.jsonl", rows)


def distinct(folder, rng):
    trades = in_disorder(rng, make_ticks(rng, 300), 5)
    trades["id"] = [f"T{number}" for number in rng.permutation(300)]
    # Some are sent again, at once or later, with a time of their own.
    again = trades.iloc[rng.integers(0, 300, 150)].copy()
    again["timestamp"] += np.array(rng.choice([0, 1, 20, 59, 60, 61, 300], 150), dtype="timedelta64[s]")
    trades = pd.concat([trades, again]).sort_values("timestamp", kind="stable")
    trades = in_disorder(rng, trades, 5)
    folder.put("trades.jsonl", lines(rows_of(trades)))
    firsts, goes_on = {}, []
    for id, time in zip(trades.id, nanoseconds(trades.timestamp)):
        goes_on.append(id not in firsts or time - firsts[id] >= 60 * SECOND)
        if goes_on[-1]:
            firsts[id] = time
    once = trades[goes_on]
    folder.expect("once.jsonl", once)
    folder.expect("means.jsonl", folder.indicators("means", once))
    query = "select * from read qualify row_number() over (partition by symbol, volume % 10 order by seq) = 1 order by seq"
    first = sql(query, read=place(trades)).df().drop(columns="seq")
    folder.expect("first.jsonl", first)
    folder.totals(rows_in=len(trades), repeats=2 * len(trades) - len(once) - len(first))


def rank(folder, rng):
    ticks = busy_ticks(rng, 500, "ABCDEFGHIJKLMNO")
    ticks["sector"] = ticks.symbol.map(SECTORS).astype(object)
    ticks["sector"] = ticks.sector.where(ticks.sector.notna(), None)
    folder.put("ticks.jsonl", lines(rows_of(ticks)))
    table("ticks", "select * exclude (price), price::double as price from read", read=place(ticks))
    table("newest", newest("ticks", "symbol"))

    def first(limit, rows, by, order, rank="rank"):
        numbered = f"row_number() over ({f'partition by {by}' if by else ''} order by {order}) as {rank}"
        return f"select *, {numbered} from {rows} qualify {rank} <= {limit}"

    dearest = first(3, "newest", "sector", "price desc nulls last, volume, symbol")
    rows = sql(f"select sector, rank, symbol, timestamp, price, volume from ({dearest}) where sector is not null")
    folder.expect("dearest.jsonl", by_name(rows, "sector", "symbol", "rank"))
    least = first(9, "newest", None, "volume % 7, coalesce(price, 0), symbol", "place")
    folder.expect("least.jsonl", by_name(sql(f"select symbol, volume, place from ({least})"), "symbol"))
    greatest = first(5, "ticks", "sector, volume % 2", "volume desc, price desc nulls last, seq")
    columns = "sector, volume % 2 as odd, rank, volume, price, symbol"
    rows = sql(f"select {columns} from ({greatest}) where sector is not null")
    folder.expect("greatest.jsonl", by_name(rows, "sector", "odd", "symbol", "rank"))
    bars = f"select symbol, start, sum(volume) as volume, max(price) as high from {hops('ticks', 10)} group by all"
    table("bars_of_ticks", bars)
    busiest = first(4, "bars_of_ticks", "symbol", "volume desc, high nulls last, start")
    rows = sql(f"select symbol, rank, volume, high from ({busiest})")
    folder.expect("busiest.jsonl", by_name(rows, "symbol", "rank"))


CASES = {maker.__name__: maker for maker in (latest, idle, distinct, rank)}
