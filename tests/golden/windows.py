"""The golden cases of windows: what DuckDB makes of the same intervals."""

import duckdb
import numpy as np
import pandas as pd

from oracles import SECOND, START, iso, lines, make_ticks, milliseconds, plain, rows_of, sql

IN_ORDER = "timestamp, seq"


def table(name, query, **frames):
    """What `query` gives, as a table of this name."""
    for given, frame in frames.items():
        duckdb.register(given, frame)
    duckdb.sql(f'create or replace temp table "{name}" as {query}')
    return name


def first(column, by=IN_ORDER):
    """`column` of the first row that has one."""
    return f"first({column} order by {by}) filter (where {column} is not null)"


def last(column):
    return f"last({column} order by {IN_ORDER}) filter (where {column} is not null)"


def arg(column, by):
    """`column`, even if it is null, of the first row where `by` is least, or greatest: `by` may end in `desc`."""
    return f"first({column} order by {by}, {IN_ORDER}) filter (where {by.split()[0]} is not null)"


OHLCV = {"open": first("price"), "high": "max(price)", "low": "min(price)", "close": last("price")}
OHLCV["volume"] = "sum(volume)"


def hops(rows, size, slide=None):
    """A row for each interval of `size` seconds that holds it; one begins every `slide`, counted from 1970."""
    slide = slide or size
    begin = f"time_bucket(interval {slide} second, timestamp, timestamp '1970-01-01') - interval {slide} second * hop"
    return table(
        f"{rows}_{size}_{slide}",
        f"""select * from (select *, {begin} as start, start + interval {size} second as "end"
                           from {rows}, range({-(-size // slide)}) hops(hop)) where timestamp < "end" """,
    )


def of(rows, key="symbol", **columns):
    """A row for each interval, in the order of their ends and keys."""
    given = [*([key] if key else []), "start", '"end"']
    made = ", ".join([*given, *(f"{text} as {name}" for name, text in columns.items())])
    order = ", ".join(['"end"', *given[:-1]])
    return sql(f"select {made} from {rows} group by {', '.join(given)} order by {order}")


def in_disorder(rng, rows, seconds):
    """The rows as they are written: each comes up to `seconds` late."""
    come = rows.timestamp.astype("datetime64[ns]").astype("int64") + rng.integers(0, seconds * SECOND, len(rows))
    return rows.iloc[np.argsort(come, kind="stable")].reset_index(drop=True)


def ticks_in_disorder(rng, rows, seconds):
    ticks = make_ticks(rng, rows)
    ticks["timestamp"] = ticks.timestamp.dt.floor("s")
    return in_disorder(rng, ticks, seconds)


def place(rows):
    """With the place of each row."""
    return rows.assign(seq=np.arange(len(rows)))


# ---- Aggregates -----------------------------------------------------------------------------------------------------


def make_trades(rng, count):
    trades = make_ticks(rng, count)
    # Four times as busy, some of them at the same time.
    trades["timestamp"] = (trades.timestamp.min() + (trades.timestamp - trades.timestamp.min()) / 4).dt.floor("s")
    trades["lots"] = rng.integers(-3, 5, count)
    trades["fee"] = [f"{fee:.4f}" for fee in rng.integers(0, 40, count) / 10_000]
    trades["venue"] = rng.choice(["Ä", "N", "q", ""], count)
    trades["buy"] = rng.random(count) < 0.5
    trades["settles"] = [f"2024-01-{day:02}" for day in rng.integers(2, 6, count)]
    sent = trades.timestamp.astype("datetime64[us]").astype("int64") - rng.integers(0, 9_999_999, count)
    trades["sent"] = [iso(micros * 1000) for micros in sent]
    for column in trades.columns[2:]:
        trades[column] = trades[column].astype(object).where(rng.random(count) >= 0.15, None)
    # Bars without any price.
    trades.loc[(trades.symbol == "B") & (trades.timestamp.dt.minute == 1), "price"] = None
    return in_disorder(rng, trades, 20)


def bars(folder, rng):
    trades = make_trades(rng, 400)
    folder.put("trades.jsonl", lines(rows_of(trades)))
    table(
        "trades",
        """select seq, symbol, timestamp, price::double as price, volume::bigint as volume, lots::int as lots,
                  fee::decimal(10, 4) as fee, venue, buy::boolean as buy, settles::date as settles,
                  cast(replace(sent, 'Z', '') as timestamp) as sent from read""",
        read=place(trades),
    )
    tens = hops("trades", 10)
    vwap = "sum(price * volume) / sum(volume)"
    counts = {"trades": "count(*)", "prices": "count(price)", "bought": "sum(volume) filter (where buy)"}
    counts |= {"buyers": "count(*) filter (where buy and price > 100)", "spread": "round(max(price) - min(price), 6)"}
    folder.expect("bars.jsonl", of(tens, **OHLCV, vwap=vwap, **counts))
    statistics = of(
        tens,
        mean="avg(price)",
        average="avg(lots)",
        deviation="stddev_samp(price)",
        deviation_pop="stddev_pop(price)",
        variance="var_samp(volume)",
        variance_pop="var_pop(fee::double)",
        median="median(price)",
        low_decile="quantile_cont(price, 0.1)",
        high_decile="quantile_cont(lots::double, 0.9)",
        middle_fee="median(fee::double)",
    )
    folder.expect("statistics.csv", statistics)
    typed = of(
        tens,
        first_lots=first("lots"),
        least_lots="min(lots)",
        all_lots="sum(lots)",
        first_fee=f"({first('fee')})::double",
        most_fee="max(fee)::double",
        all_fees="sum(fee)::double",
        last_venue=last("venue"),
        least_venue="min(venue)",
        most_venue="max(venue)",
        venues="count(distinct venue)",
        numbers="count(distinct lots)",
        fees="count(distinct fee)",
        first_buy=first("buy"),
        any_buy="max(buy)",
        first_settles=first("settles"),
        last_settles=last("settles"),
        most_settles="max(settles)",
        first_sent=first("sent"),
        least_sent="min(sent)",
        best_venue=arg("venue", "price desc"),
        worst_sent=arg("sent", "price"),
        price_of_most=arg("price", "volume desc"),
        lots_of_least=arg("lots", "fee"),
        fee_of_first=f"({arg('fee', 'venue')})::double",
    )
    folder.expect("typed.jsonl", typed)
    # A bar has the time of its start.
    made = of(tens, **OHLCV).df()
    table("again", 'select * exclude (start, "end"), start as timestamp, 0 as seq from made', made=made)
    carried = {"open": first("open"), "high": "max(high)", "low": "min(low)", "close": last("close")}
    folder.expect("minutes.jsonl", of(hops("again", 60), **carried, volume="sum(volume)", bars="count(*)"))
    smooth = folder.indicators("smooth", made.assign(timestamp=made.start))
    folder.expect("smooth.jsonl", smooth[["symbol", "start", "end", "close", "sma", "change"]])
    folder.expect("all-together.jsonl", of(hops("trades", 30), key=None, **OHLCV, trades="count(*)"))


# ---- Intervals ------------------------------------------------------------------------------------------------------


def intervals(folder, rng):
    ticks = ticks_in_disorder(rng, 300, 60)
    folder.put("ticks.jsonl", lines(rows_of(ticks)))
    table("ticks", "select * from read", read=place(ticks))
    made = {name: OHLCV[name] for name in ("open", "close", "high", "volume")}
    folder.expect("hops.jsonl", of(hops("ticks", 25, 10), **made, n="count(*)"))
    # A row begins a session where the one before it is six seconds away.
    table(
        "sessions",
        """with gaps as (select *, coalesce(timestamp - lag(timestamp) over rows >= interval 6 second, true) as begins
                         from ticks window rows as (partition by symbol order by timestamp, seq)),
                numbered as (select *, sum(begins::int) over (partition by symbol order by timestamp, seq) as session from gaps)
           select *, min(timestamp) over one as start, max(timestamp) over one + interval 6 second as "end"
           from numbered window one as (partition by symbol, session)""",
    )
    made = of(
        "sessions",
        open=first("price"),
        close=last("price"),
        low="min(price)",
        middle="median(price)",
        deviation="stddev_samp(price)",
        volumes="count(distinct volume)",
        best=arg("volume", "price desc"),
        mean="avg(price)",
        volume="sum(volume)",
        n="count(*)",
    )
    folder.expect("sessions.csv", made)


# ---- Empty intervals ------------------------------------------------------------------------------------------------


def seconds(count):
    return pd.Timedelta(seconds=count)


def filled(rows, following, fill_for, passed, carried):
    """`rows`, the intervals of several keys, and the empty ones behind them: for `fill_for` seconds; behind the last
    one of a key as far as event time has `passed`. `following` is the interval behind one that begins at a time,
    `carried` what an empty one is that goes on from another."""
    made = []
    for symbol, own in rows.groupby("symbol"):
        starts = set(own.start)
        for row in own.to_dict("records"):
            made.append(row | {"is_filled": False})
            behind = following(row["start"])
            while behind and behind[0] not in starts and behind[0] < row["end"] + seconds(fill_for):
                start, end = behind
                if start > max(starts) and end > passed:
                    break
                empty = {"symbol": symbol, "start": start, "end": end, "is_filled": True}
                made.append(dict.fromkeys(row) | carried(row) | empty)
                behind = following(start)
    made.sort(key=lambda row: (row["end"], row["symbol"], row["start"]))
    return [{name: plain(value) for name, value in row.items()} for row in made]


def sliding(size, slide):
    return lambda start: (start + seconds(slide), start + seconds(slide + size))


def empty(folder, rng):
    ticks = make_ticks(rng, 250)
    # Each symbol has pauses of its own, some of them long.
    minute = ticks.timestamp.dt.minute
    pauses = {"A": minute % 3 == 1, "B": minute < 5, "C": minute > 2}
    pausing = np.logical_or.reduce([(ticks.symbol == symbol) & pause for symbol, pause in pauses.items()])
    ticks = ticks[~pausing | (rng.random(250) < 0.08)]
    # Also rows without a price; and each file is an epoch, so that some empty intervals are there before their rows.
    price = ticks.price.where(rng.random(len(ticks)) > 0.3)
    ticks = in_disorder(rng, ticks.assign(venue=rng.choice(["N", "Q"], len(ticks)), price=price), 2)
    for number, part in enumerate(np.array_split(np.arange(len(ticks)), 12)):
        folder.put(f"ticks/{number:02}.jsonl", lines(rows_of(ticks.iloc[part])))
    table("ticks", "select * replace (if(isnan(price), null, price) as price) from read", read=place(ticks))
    passed = ticks.timestamp.max() - seconds(2)
    fives, counts = hops("ticks", 5), {"volume": "sum(volume)", "n": "count(*)"}
    folder.expect("omitted.jsonl", of(fives, open=first("price"), close=last("price"), **counts))
    made = of(
        fives,
        open=first("price"),
        high="max(price)",
        close=last("price"),
        mean="avg(price)",
        middle="median(price)",
        deviation="stddev_samp(price)",
        **counts,
        venue=last("venue"),
        turnover="sum(price * volume)",
    )

    def go_on(row):
        prices = dict.fromkeys(["open", "high", "close", "mean", "middle"], row["close"])
        return prices | {"venue": row["venue"], "volume": 0, "n": 0, "turnover": 0}

    folder.expect("carried.jsonl", filled(made.df(), sliding(5, 5), 30, passed, go_on))
    made = of(fives, close=last("price"), **counts, twice="2 * sum(volume)")
    folder.expect("null.csv", filled(made.df(), sliding(5, 5), 15, passed, lambda _: {}))
    made = of(hops("ticks", 10, 5), close=last("price"), volume="sum(volume)")
    go_on = lambda row: {"close": row["close"], "volume": 0}
    folder.expect("hops.jsonl", filled(made.df(), sliding(10, 5), 20, passed, go_on))


# ---- Sessions of exchanges ------------------------------------------------------------------------------------------

# In New York, where it closed early on the 3rd of July 2024 and did not open on the 4th.
NEW_YORK = [
    ("2023-12-29", "09:30", "16:00", "04:00", "20:00"),
    ("2024-07-02", "09:30", "16:00", "04:00", "20:00"),
    ("2024-07-03", "09:30", "13:00", "04:00", "17:00"),
    ("2024-07-05", "09:30", "16:00", "04:00", "20:00"),
    ("2024-07-08", "09:30", "16:00", "04:00", "20:00"),
]
# In Chicago trading begins on the evening before: on a Sunday for Monday.
CHICAGO = ["2024-07-02", "2024-07-03", "2024-07-05", "2024-07-08", "2024-07-09"]


def utc(local, zone):
    return pd.Timestamp(local).tz_localize(zone).tz_convert("UTC").tz_localize(None)


def within(name, sessions, rows="ticks"):
    """The rows in `sessions`: date, opening and close, in UTC."""
    frame = pd.DataFrame(sessions, columns=["session_date", "start", "end"])
    columns, held = "* replace (session_date::date as session_date)", 'timestamp >= start and timestamp < "end"'
    return table(name, f"select {columns} from {rows} join sessions on {held}", sessions=frame)


def sessions(folder, rng):
    before = START - 3 * 86_400 * SECOND + 10 * 3600 * SECOND
    july = START + 183 * 86_400 * SECOND
    times = np.concatenate([before + milliseconds(rng, 20, 1500), july + milliseconds(rng, 330, 1900)])
    ticks = pd.DataFrame({"symbol": rng.choice(["A", "B"], 350), "timestamp": pd.to_datetime(times)})
    ticks["price"] = np.round(100 + rng.normal(0, 1, 350).cumsum(), 2)
    ticks["volume"] = rng.integers(1, 100, 350)
    ticks = ticks[ticks.timestamp < "2024-07-09 02:00"]
    ticks = in_disorder(rng, ticks, 7200)
    folder.put("ticks.jsonl", lines(rows_of(ticks)))
    table("ticks", "select * from read", read=place(ticks))
    zone = "America/New_York"
    hours = lambda date, open, close: (date, utc(f"{date} {open}", zone), utc(f"{date} {close}", zone))
    regular = [hours(date, open, close) for date, open, close, _, _ in NEW_YORK]
    extended = [hours(date, open, close) for date, _, _, open, close in NEW_YORK]
    made = {"session_date": "any_value(session_date)", "open": first("price"), "close": last("price")}
    made |= {"volume": "sum(volume)", "n": "count(*)"}
    days, long_days = of(within("days", regular), **made), of(within("long_days", extended), **made)
    folder.expect("days.jsonl", days)
    folder.expect("long-days.csv", long_days)
    # Hours are counted from the opening, the last one is cut off by the close.
    parts = []
    for date, open, close in regular:
        starts = pd.date_range(open, close, freq="1h", inclusive="left")
        parts.extend((date, start, min(start + pd.Timedelta("1h"), close)) for start in starts)
    hours = of(within("hours", parts), session_date="any_value(session_date)", close=last("price"), n="count(*)").df()
    dates = {start: date for date, start, _ in parts}
    behind = {one[1]: two[1:] for one, two in zip(parts, parts[1:]) if one[0] == two[0]}
    passed = ticks.timestamp.max() - pd.Timedelta("2h")
    rows = filled(hours, behind.get, 86_400, passed, lambda row: {"close": row["close"], "n": 0})
    for row in rows:
        row["session_date"] = dates[pd.Timestamp(row["start"]).tz_localize(None)]
    folder.expect("hours.jsonl", rows)
    zone = "America/Chicago"
    evening = lambda date: pd.Timestamp(f"{date} 17:00") - pd.Timedelta("1d")
    own = [(date, utc(evening(date), zone), utc(f"{date} 16:00", zone)) for date in CHICAGO]
    own = of(within("own", own), session_date="any_value(session_date)", open=first("price"), n="count(*)")
    folder.expect("own.jsonl", own)
    every_day = of(hops("ticks", 86_400), session_date="any_value(start::date)", n="count(*)")
    folder.expect("every-day.jsonl", every_day)
    count = lambda name: sql(f"select count(*) from {name}").fetchall()[0][0]
    not_covered = int((ticks.timestamp < "2024-01-01").sum())
    outside = 4 * len(ticks) - not_covered - sum(map(count, ("days", "long_days", "hours", "own")))
    rows_out = len(rows) + sum(len(made.fetchall()) for made in (days, long_days, own, every_day))
    folder.totals(rows_in=len(ticks), rows_out=rows_out, outside=outside, dead_letters=not_covered)


# ---- Late rows ------------------------------------------------------------------------------------------------------


def late(folder, rng):
    ticks = ticks_in_disorder(rng, 220, 3)
    # Each file is an epoch. In the last one there are rows from long before the end of the first.
    parts = [ticks.iloc[start:end] for start, end in ((0, 90), (90, 120), (120, 150), (150, 220))]
    ended = parts[0].timestamp.max() - seconds(3)
    stray = pd.Timedelta(seconds=1) * rng.integers(0, 60, 25) + ticks.timestamp.min()
    stray = make_ticks(rng, 25).assign(timestamp=stray)
    assert (stray.timestamp.dt.floor("10s") + seconds(30) <= ended).all()
    parts[3:] = [parts[3].iloc[:40], pd.concat([parts[3].iloc[40:55], stray, parts[3].iloc[55:]])]
    for number, part in enumerate(parts):
        folder.put(f"ticks/{number}.jsonl", lines(rows_of(part)))
    table("ticks", "select * from read", read=place(ticks))
    made = {name: OHLCV[name] for name in ("open", "close", "volume")}
    folder.expect("dropped.jsonl", of(hops("ticks", 10), **made, n="count(*)"))
    folder.expect("aside.jsonl", of(hops("ticks", 30, 10), high="max(price)", n="count(*)"))
    folder.expect("too-late.jsonl", stray)
    folder.expect("dear.csv", stray.loc[stray.price > 100, ["symbol", "timestamp", "price"]])
    folder.totals(rows_in=len(ticks) + len(stray), late=2 * len(stray))


def revise(folder, rng):
    ticks = ticks_in_disorder(rng, 240, 1)
    # Each file is an epoch; a quarter of the rows comes up to three files late.
    chunk = np.arange(240) // 40
    chunk = np.minimum(chunk + rng.integers(1, 4, 240) * (rng.random(240) < 0.25), 6)
    ticks = ticks.iloc[np.argsort(chunk, kind="stable")].reset_index(drop=True)
    chunk = np.sort(chunk)
    for number in range(7):
        folder.put(f"ticks/{number}.jsonl", lines(rows_of(ticks[chunk == number])))
    table("ticks", "select * from read", read=place(ticks))
    tens = hops("ticks", 10)
    made = of(tens, **OHLCV, vwap="sum(price * volume) / sum(volume)").df()
    folder.expect("bars.jsonl", made)
    out = folder.indicators("indicators", made.assign(timestamp=made.start)).drop(columns="timestamp")
    folder.expect("indicators.jsonl", out)
    dear = made[made.close > 90]
    folder.expect("dear.jsonl", dear)
    levels = "select symbol, start as timestamp, ceil(high) as ceiling, volume as trades, 0 as seq from dear"
    table("levels", levels, dear=dear)
    made = {"high": "max(ceiling)", "volume": "sum(trades)", "bars": "count(*)", "first": first("ceiling")}
    folder.expect("minutes.jsonl", of(hops("levels", 60), **made))
    shown = of(hops("ticks", 20, 5), open=first("price"), n="count(*)", middle="median(price)")
    folder.expect("shown.jsonl", shown)
    bars = of(tens, close=last("price"), volume="sum(volume)").df()
    passed = ticks.timestamp.max() - seconds(1)
    go_on = lambda row: {"close": row["close"], "volume": 0}
    folder.expect("filled.jsonl", filled(bars, sliding(10, 10), 60, passed, go_on))


CASES = {maker.__name__: maker for maker in (bars, intervals, empty, sessions, late, revise)}
