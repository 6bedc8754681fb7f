"""The golden case of corrections: what DuckDB and the oracles of indicators make of the trades as they should have been."""

import numpy as np
import pandas as pd

from oracles import lines, make_ticks, rows_of
from windows import OHLCV, arg, first, hops, of, table

FILES = 8
VWAP = "sum(price * volume) / sum(volume)"


def make_trades(rng):
    """Trades with the file each is read from: in order, but a few come three files late."""
    trades = make_ticks(rng, 400).assign(kind="new", about=None, revision=0)
    trades["trade_id"] = [f"T{n}" for n in range(400)]
    trades["file"] = np.arange(400) * FILES // 400
    stray = rng.choice(np.flatnonzero(trades.file < FILES - 4), 14, replace=False)
    trades["late"] = False
    trades.loc[stray, "late"] = True
    trades.loc[stray, "file"] += 3
    return trades.sort_values("file", kind="stable").reset_index(drop=True)


def correct(rng, trades):
    """Messages about trades, with the file each is read from, and the trades as they are then."""
    now = trades.assign(seq=np.arange(len(trades)), gone=False).set_index("seq")
    messages = []
    ends = trades[~trades.late].groupby("file").timestamp.max()
    for number, seq in enumerate(np.sort(rng.choice(len(trades), 140))):
        trade = now.loc[seq]
        if trade.gone:
            continue
        # Not before what was said of the trade before.
        file = int(min(max(trade.file, trade.get("said", 0)) + rng.choice([0, 0, 1, 2, 4]), FILES - 1))
        # It has the time at which it is sent, that of the trade, or none.
        time = [ends[file], trade.timestamp, None][rng.integers(3)]
        message = {"symbol": trade.symbol, "timestamp": time, "about": trade.trade_id, "file": file}
        now.loc[seq, "file"] = file
        if rng.random() < 0.4:
            messages.append(message | {"kind": "cancel"})
            now.loc[seq, "gone"] = True
            continue
        columns = {"price": round(trade.price + rng.normal(0, 3), 2), "volume": int(rng.integers(1, 100))}
        columns |= {"trade_id": f"{trade.trade_id}-{number}", "kind": "correct"}
        messages.append(message | columns)
        for name, value in columns.items():
            now.loc[seq, name] = value
        now.loc[seq, "revision"] += 1
    return messages, now[~now.gone].reset_index()


def wrong_messages(trades):
    """About trades that are not there, or are there already: how many of each, and they themselves."""
    unknown = [{"symbol": "A", "about": f"X{n}", "kind": kind, "file": n % FILES} for n, kind in enumerate(["cancel", "correct"] * 4)]
    # A trade of another key is another trade.
    other = trades[(trades.symbol == "B") & (trades.file == 1)].trade_id
    unknown += [{"symbol": "C", "about": about, "kind": "cancel", "file": 4} for about in other]
    again = trades[trades.file == 2].to_dict("records")[:9]
    again = [row | {"file": 6, "price": 1.0} for row in again]
    return len(unknown), len(again), unknown + again


def corrections(folder, rng):
    trades = make_trades(rng)
    messages, now = correct(rng, trades)
    unmatched, repeated, wrong = wrong_messages(trades)
    for file in range(FILES):
        of_file = lambda rows: [row for row in rows if row["file"] == file]
        rows = pd.DataFrame(trades[trades.file == file].to_dict("records") + of_file(messages) + of_file(wrong))
        rows = rows[["symbol", "timestamp", "kind", "trade_id", "about", "price", "volume"]]
        # A batch of messages without time shows nothing of its unit.
        rows["timestamp"] = pd.to_datetime(rows.timestamp)
        folder.put(f"trades/{file}.jsonl", lines(rows_of(rows.astype({"price": object, "volume": object}))))
    columns = ["symbol", "kind", "trade_id", "price", "volume", "revision"]
    folder.expect("all.jsonl", now[columns])
    in_order = now.astype({"price": float, "volume": int}).sort_values(["timestamp", "seq"])
    means = folder.indicators("means", in_order).sort_values("seq")
    folder.expect("means.jsonl", means[[*columns, "sma", "rsi", "obv"]])
    dear = in_order[in_order.price > 100]
    folder.expect("dear.jsonl", dear.sort_values("seq")[columns])
    table("in_time", "select * from rows", rows=in_order[~in_order.late])
    bars = of(hops("in_time", 10), **OHLCV, vwap=VWAP, trades="count(*)").df()
    folder.expect("bars.jsonl", bars)
    smooth = folder.indicators("smooth", bars.assign(timestamp=bars.start))
    folder.expect("smooth.jsonl", smooth.drop(columns="timestamp"))
    table("corrected", "select * from rows", rows=in_order)
    made = {"open": first("price"), "middle": "median(price)", "n": "count(*)", "best": arg("volume", "price desc")}
    folder.expect("revised.jsonl", of(hops("corrected", 20, 10), **made))
    table("dear", "select * from rows", rows=dear)
    folder.expect("dear_bars.jsonl", of(hops("dear", 60), low="min(price)", volume="sum(volume)", n="count(*)"))
    late = int(trades.late.sum())
    folder.totals(unmatched=unmatched, dead_letters=unmatched + repeated, late=late)


CASES = {"corrections": corrections}
