"""The golden cases of joins: what DuckDB finds for the same rows."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from oracles import csv, lines, make_ticks, rows_of, sql
from windows import in_disorder, last, of, place, hops, table


def put_parts(folder, name, rows, write, count=4):
    """Each file is an epoch."""
    for number, part in enumerate(np.array_split(np.arange(len(rows)), count)):
        folder.put(name.format(number), write(rows.iloc[part]))


def make_trades(folder, rng, count=260):
    trades = make_ticks(rng, count)
    trades["timestamp"] = trades.timestamp.dt.floor("s")
    trades["venue"] = rng.choice(["N", "Q", None], count)
    trades = in_disorder(rng, trades, 5)
    put_parts(folder, "trades/{}.jsonl", trades, lambda rows: lines(rows_of(rows)))
    table("trades", "select * from read", read=place(trades))
    return trades


def newest(name, rows, *by):
    """Of rows of the same instant the last one."""
    by = ", ".join(by)
    one = f"select * from {rows} qualify row_number() over (partition by {by} order by seq desc) = 1"
    return table(name, one)


def as_of(folder, rng):
    trades = make_trades(folder, rng)
    quotes = make_ticks(rng, 300)[["symbol", "timestamp", "price"]]
    quotes["timestamp"] = quotes.timestamp.dt.floor("s")
    quotes = quotes[rng.random(300) < 0.5].rename(columns={"symbol": "ticker", "timestamp": "sent", "price": "bid"})
    quotes["ask"] = np.round(quotes.bid + rng.integers(1, 9, len(quotes)) / 100, 2)
    quotes["venue"] = rng.choice(["N", "Q"], len(quotes))
    quotes = quotes.sort_values("sent", kind="stable")
    arrives = quotes.sent + pd.to_timedelta(rng.uniform(0, 2.9, len(quotes)), unit="s")
    quotes = quotes.iloc[np.argsort(arrives.to_numpy(), kind="stable")].reset_index(drop=True)
    put_parts(folder, "quotes/{}.csv", quotes, csv, 6)
    table("quotes", "select * from read", read=place(quotes))
    newest("quotes_of_symbols", "quotes", "ticker", "sent")
    columns = "t.* exclude (seq), q.venue as quote_venue, q.sent as quote_sent, q.bid as quote_bid, q.ask as quote_ask"
    quoted = sql(
        f"""select {columns} from trades t asof left join quotes_of_symbols q on t.symbol = q.ticker and t.timestamp >= q.sent
            order by t.timestamp, t.seq"""
    ).df()
    folder.expect("quoted.jsonl", quoted)
    folder.expect("means.jsonl", folder.indicators("means", quoted))
    newest("quotes_of_venues", "quotes", "ticker", "venue", "sent")
    found = """select t.symbol, t.timestamp, t.venue, t.price, t.seq,
                      case when t.timestamp - q.sent <= interval 4 second then q.bid end as bid,
                      case when t.timestamp - q.sent <= interval 4 second then round(q.ask - q.bid, 10) end as spread,
                      case when t.timestamp - q.sent <= interval 4 second then q.sent end as quoted_at
               from trades t asof left join quotes_of_venues q
               on t.symbol = q.ticker and t.venue = q.venue and t.timestamp >= q.sent"""
    table("found", found)
    order = "order by timestamp, seq"
    folder.expect("fresh.jsonl", sql(f"select * exclude (seq) from found {order}"))
    folder.expect("found.jsonl", sql(f"select symbol, timestamp, price, bid from found where bid is not null {order}"))
    newest("last_trades", "trades", "symbol", "timestamp")
    before = "from trades t asof join last_trades l on t.symbol = l.symbol and t.timestamp >= l.timestamp"
    folder.expect("before.jsonl", sql(f"select t.* exclude (seq), l.price as last {before} order by t.timestamp, t.seq"))
    bars = of(hops("trades", 10), close=last("price"))
    table("ended", "select * from bars_read", bars_read=bars.df())
    barred = 'from trades t asof left join ended b on t.symbol = b.symbol and t.timestamp >= b."end"'
    barred = f"select t.* exclude (seq), b.start as bar, b.close {barred} order by t.timestamp, t.seq"
    folder.expect("barred.jsonl", sql(barred))
    opened = "from ended b asof left join last_trades l on b.symbol = l.symbol and b.start >= l.timestamp"
    folder.expect("opened.jsonl", sql(f'select b.*, l.price as before {opened} order by b."end", b.symbol'))


def table_(folder, rng):
    trades = make_trades(folder, rng)
    # A code with zeros before it, a cell that is empty, and a name with a line break.
    sectors = pd.DataFrame({"symbol": ["B", "A"], "sector": ["mining,\nmetals", "banks"], "code": ["007", None]})
    folder.put("sectors.csv", csv(sectors))
    everything = "select t.*, s.sector, s.code from trades t left join sectors s using (symbol) order by t.seq"
    joined = sql(everything, sectors=sectors).df()
    folder.expect("sectors.jsonl", joined.drop(columns="seq"))
    known = sql("select * from joined where sector is not null order by seq", joined=joined).df()
    folder.expect("known.csv", known.assign(segment=known.sector.str.upper())[["symbol", "price", "segment", "code"]])
    start, end = trades.timestamp.min(), trades.timestamp.max()
    fees = [
        {"ticker": ticker, "place": venue, "since": since, "fee": round(float(rng.random()), 4)}
        for ticker in ("A", "C")
        for venue in ("N", "Q")
        for since in ([None] if venue == "Q" else []) + sorted(start + (end - start) * part for part in rng.random(3))
    ]
    fees = pd.DataFrame(fees)
    fees["since"] = pd.to_datetime(fees.since).dt.floor("s")
    fees = fees.iloc[rng.permutation(len(fees))]
    folder.put("fees.jsonl", lines(rows_of(fees)))
    # What holds from the beginning holds from before all trades.
    held = """select t.* exclude (seq), nullif(f.since, timestamp '1970-01-01') as since, f.fee from trades t asof left join held f
              on t.symbol = f.ticker and t.venue = f.place and t.timestamp >= f.since order by t.seq"""
    folder.expect("fees.out.jsonl", sql(held, held=fees.fillna({"since": pd.Timestamp(0)})))
    lots = pa.table({"lot": pa.array([10, 100], pa.int32()), "symbol": ["C", "A"]})
    pq.write_table(lots, folder.path / "lots.parquet")
    of_lots = "select t.* exclude (seq), l.lot as its_lot from trades t left join lots l using (symbol) order by t.seq"
    folder.expect("lots.jsonl", sql(of_lots, lots=lots))
    bars = of(hops("trades", 10), close=last("price"), volume="sum(volume)").df()
    bars = bars.merge(sectors[["symbol", "sector"]], on="symbol")
    folder.expect("bars.jsonl", bars.sort_values(["end", "symbol"]))


def last_of(name, rows, *key):
    """Of rows of a key the newest one, of equal ones the last."""
    key = ", ".join(key)
    one = f"select * from {rows} qualify row_number() over (partition by {key} order by timestamp desc, seq desc) = 1"
    return table(name, one)


def joined(folder, rng):
    ticks = make_ticks(rng, 120)
    ticks["timestamp"] = ticks.timestamp.dt.floor("s")
    ticks = in_disorder(rng, ticks, 20)
    put_parts(folder, "ticks/{}.jsonl", ticks, lambda rows: lines(rows_of(rows)), 5)
    table("ticks", "select * from read", read=place(ticks))
    positions = make_ticks(rng, 90)[["symbol", "timestamp"]]
    # A symbol that nobody trades, and none of another that somebody does.
    positions["symbol"] = positions.symbol.replace("C", "Z")
    positions["timestamp"] = positions.timestamp.dt.floor("s")
    positions["account"] = rng.choice(["x", "y", "z"], 90)
    positions["quantity"] = rng.integers(-50, 50, 90)
    positions = in_disorder(rng, positions, 20)
    put_parts(folder, "positions/{}.jsonl", positions, lambda rows: lines(rows_of(rows)), 6)
    table("positions", "select * from read", read=place(positions))
    owners = pd.DataFrame({"name": ["x", "y", "x"], "desk": ["old", "rates", "equities"]})
    owners["since"] = pd.to_datetime(["2023-01-01", "2023-01-01", "2024-06-01"])
    folder.put("owners.csv", csv(owners))
    last_of("held_now", "positions", "account", "symbol")
    last_of("traded_now", "ticks", "symbol")
    valued = "select h.account, h.symbol, h.timestamp, h.quantity, t.price from held_now h join traded_now t using (symbol)"
    folder.expect("valued.jsonl", sql(valued))
    pairs = "select h.account, h.symbol, h.quantity, o.account as other, o.quantity as both"
    folder.expect("pairs.jsonl", sql(f'{pairs} from held_now h join held_now o using (symbol)'))
    newest_owners = "(select * from owners qualify row_number() over (partition by name order by since desc) = 1)"
    owned = f"select v.*, o.desk from ({valued}) v left join {newest_owners} o on v.account = o.name"
    folder.expect("owned.jsonl", sql(owned, owners=owners))
    minutes = of(hops("ticks", 60), close=last("price")).df()
    barred = "select m.symbol, m.close, m.start, h.account, h.quantity from minutes m left join held_now h using (symbol)"
    folder.expect("barred.jsonl", sql(barred, minutes=minutes))


CASES = {"as_of": as_of, "table": table_, "joined": joined}
