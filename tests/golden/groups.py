"""The golden cases of aggregates and pivots: what DuckDB makes of the rows that count in the end."""

import numpy as np
import pandas as pd

from oracles import lines, make_ticks, rows_of, sql
from windows import arg, first, in_disorder, last, place, seconds, table


def make_trades(rng, count, late):
    """Trades of the file, each up to `late` seconds behind one that is later; none of C in the end."""
    trades = make_ticks(rng, count, symbols="ABCD")
    trades["timestamp"] = trades.timestamp.dt.floor("s")
    trades["side"] = rng.choice(["buy", "sell", "cross"], count, p=[0.5, 0.4, 0.1])
    trades["venue"] = rng.choice(["N", "Ä", "q"], count)
    trades["price"] = trades.price.astype(object).where(rng.random(count) >= 0.1, None)
    ended = trades.timestamp.min() + (trades.timestamp.max() - trades.timestamp.min()) / 2
    trades.loc[(trades.symbol == "C") & (trades.timestamp > ended), "symbol"] = "A"
    return in_disorder(rng, trades, late)


def write(folder, trades, parts=5):
    """Each file is an epoch."""
    for number, part in enumerate(np.array_split(np.arange(len(trades)), parts)):
        folder.put(f"trades/{number}.jsonl", lines(rows_of(trades.iloc[part])))
    table("trades", "select * from read", read=place(trades))


def grouped(rows, by, where="true", **columns):
    made = ", ".join([*by, *(f"{text} as {name}" for name, text in columns.items())])
    groups = f"group by {', '.join(by)}" if by else "having count(*) > 0"
    order = f"order by {', '.join(by)}" if by else ""
    return sql(f"select {made} from {rows} where {where} {groups} {order}")


def groups(folder, rng):
    trades = make_trades(rng, 240, 3)
    write(folder, trades)
    venues = grouped(
        "trades",
        ["venue", "side"],
        trades="count(*)",
        volume="sum(volume)",
        vwap="sum(price * volume) / sum(volume)",
        low="min(price)",
        high="max(price)",
        first=first("price"),
        last=last("price"),
        dearest=arg("symbol", "price desc"),
        symbols="count(distinct symbol)",
        middle="quantile_cont(price, 0.5)",
        spread="stddev_samp(price)",
        big="count(*) filter (where volume > 50)",
    ).df()
    folder.expect("venues.jsonl", venues)
    folder.expect("days.jsonl", venues[venues.trades > 20])
    folder.expect("all.jsonl", grouped("trades", [], trades="count(*)", turnover="sum(price * volume)"))
    sides = {}
    for side in ("buy", "sell"):
        only = f"filter (where side = '{side}')"
        sides |= {f"mean_{side}": f"avg(price) {only}", f"n_{side}": f"count(price) {only}"}
        sides |= {f"part_{side}": f"sum(volume) {only} / 100.0"}
    folder.expect("sides.jsonl", grouped("trades", ["symbol"], **sides))


def spans(folder, rng):
    trades = make_trades(rng, 300, 3)
    write(folder, trades, parts=7)
    passed = trades.timestamp.max() - seconds(3)
    since = lambda span: f"timestamp > timestamp '{passed - seconds(span)}'"
    minute = grouped(
        "trades",
        ["symbol"],
        since(60),
        trades="count(*)",
        volume="sum(volume)",
        turnover="sum(price * volume)",
        mean="avg(price)",
        low="min(price)",
        high="max(price)",
        first=first("price"),
        last=last("price"),
        dearest=arg("volume", "price desc"),
        cheapest=arg("side", "price"),
        sides="count(distinct side)",
        middle="quantile_cont(price, 0.5)",
        ninth="quantile_cont(volume, 0.9)",
        stddev="stddev_samp(price)",
        spread="stddev_pop(price)",
        variance="var_samp(volume)",
        var_pop="var_pop(volume)",
    )
    assert "C" not in minute.df().symbol.values
    folder.expect("minute.jsonl", minute)
    folder.expect("seconds.jsonl", grouped("trades", ["side", "venue"], since(10), n="count(*)", last=last("symbol")))
    ratio = {f"mean_{side}": f"avg(price) filter (where side = '{side}')" for side in ("buy", "sell")}
    folder.expect("ratio.jsonl", grouped("trades", [], since(30), **ratio))


CASES = {maker.__name__: maker for maker in (groups, spans)}
