"""Writes the inputs of the golden cases, and what they must give, beside their dataflow files.

    pip install ta-lib==0.8.2 numpy==2.4.6 pandas==3.1.1 polars==2.1.0 duckdb==2.0.0 pyarrow==26.0.1
    python tests/golden/expected.py [CASE...]

A case is a folder of `cases/`: a dataflow file, its inputs, and under `expected/` what its outputs must hold, file by
file under the name the sink gives it (`totals.json`: what `tapeflow run --json` counts). Expected values come from
others: indicators from TA-Lib, pandas and the formulas of Pine (see `talib/generate.py`), selections and filters from
DuckDB, files from polars and PyArrow; what a handful of rows must give is written out. Nothing here is taken from our
own code. Windows are in `windows.py`, groups in `groups.py`, corrected trades in `corrections.py`, joins in `joins.py`, what is
kept by key in `tables.py`. The calls of an `indicators` node are read from the dataflow file, so that they are written once.
"""

import sys
import zlib

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from oracles import (
    SECOND,
    START,
    Folder,
    csv,
    epoch,
    generate,
    iso,
    lines,
    make_bars,
    make_ticks,
    nanoseconds,
    plain,
    rows_of,
    sql,
)
import corrections
import groups
import joins
import tables
import windows

CASES = windows.CASES | groups.CASES | corrections.CASES | tables.CASES | joins.CASES


def case(function):
    """Registers the maker of the case that is called like it."""
    CASES[function.__name__] = function
    return function


# ---- Indicators -----------------------------------------------------------------------------------------------------


def dialect(folder, rng):
    bars = make_bars(rng)
    folder.put("bars.csv", csv(bars))
    out = folder.indicators("indicators", bars)
    folder.expect("out.csv", out.drop(columns=bars.columns[2:]))


CASES |= {name: dialect for name in ("talib", "tradingview", "pandas")}


@case
def warm(folder, rng):
    bars = make_bars(rng)
    folder.put("bars.csv", csv(bars))
    # The defaults, written out: an oracle has others.
    folder.flow["operators"]["indicators"]["columns"] = {
        "rsi": "rsi(close, 14)",
        "macd": "macd(close, 12, 26, 9)",
        "b": "bollinger(close, 20, 2)",
    }
    out = folder.indicators("indicators", bars)
    folder.expect("out.csv", out)
    folder.totals(rows_in=len(bars), rows_out=len(out), held_back=len(bars) - len(out), dead_letters=0, skipped=0)


@case
def chained(folder, rng):
    ticks = make_ticks(rng)
    ticks.loc[rng.random(len(ticks)) < 0.1, "price"] = np.nan
    folder.put("ticks.jsonl", lines(rows_of(ticks)))
    smooth = folder.indicators("smooth", ticks)
    folder.expect("smooth.jsonl", smooth)
    folder.expect("out.jsonl", folder.indicators("again", smooth[smooth.volume > 40]))


@case
def union(folder, rng):
    morning, evening = make_ticks(rng, 90)[["symbol", "timestamp", "price"]], make_ticks(rng, 80)
    evening = evening[["symbol", "timestamp", "price"]].assign(price=np.round(rng.normal(50, 5, 80), 2))
    folder.put("morning.csv", csv(morning))
    folder.put("evening.jsonl", lines(rows_of(evening)))
    both = pd.concat([morning, evening[evening.price > 50]], ignore_index=True)
    folder.expect("means.jsonl", folder.indicators("means", both))
    # In the order of the dataflow file, whatever the order of the inputs.
    folder.expect("both.jsonl", pd.concat([morning, evening]))


@case
def event_time(folder, rng):
    ticks = make_ticks(rng, 300)
    # Half of the ticks are late by up to a minute; some share their time and keep the order of the file.
    ticks["timestamp"] = ticks.timestamp.dt.floor("s")
    late = ticks.timestamp + pd.to_timedelta(rng.uniform(0, 59, 300) * (rng.random(300) < 0.5), unit="s")
    shuffled = ticks.iloc[np.argsort(late.to_numpy(), kind="stable")]
    folder.put("ticks.jsonl", lines(rows_of(epoch(shuffled, 10**6))))
    in_order = shuffled.sort_values("timestamp", kind="stable")
    folder.expect("out.jsonl", epoch(folder.indicators("means", in_order), 10**6))


@case
def speed(folder, rng):
    ticks = make_ticks(rng, 100)
    folder.put("ticks.jsonl", lines(rows_of(ticks)))
    for name in ("paced", "free"):
        folder.expect(f"{name}.jsonl", folder.indicators(f"{name}_means", ticks))


# ---- Selections and filters -------------------------------------------------------------------------------------------


@case
def select(folder, rng):
    rows = 40
    trades = pd.DataFrame({"stock": rng.choice(["AAPL", "F"], rows), "trade_id": np.arange(rows) + 1000})
    trades["price"] = np.round(rng.normal(100, 20, rows), 2)
    trades["quantity"] = rng.integers(1, 50, rows)
    trades["trade_date"] = "2023-12-18"
    trades["trade_time"] = [f"08:{45 + i // 10}:{i % 10 * 6:02}" for i in range(rows)]
    trades["trade_type"] = rng.choice(["Buy", "buy", "SELL"], rows)
    folder.put("trades.csv", csv(trades))
    source = sql(
        """select stock as symbol, strptime(trade_date || ' ' || trade_time, '%Y-%m-%d %H:%M:%S') as moment, price,
                  quantity as volume, trade_type = 'buy' as buy,
                  case when price > 100 then 'dear' else lower(trade_type) end as note from trades""",
        trades=trades,
    ).df()
    made = sql(
        """select symbol, moment as timestamp, price * 2 as double_price, round(price, 1) as rounded,
                  cast(floor(price) as bigint) as whole, length(symbol) as long from source""",
        source=source,
    ).df()
    folder.expect("made.jsonl", folder.indicators("means", made).drop(columns=["symbol", "timestamp"]))
    folder.expect("list.csv", source[["buy", "symbol", "note"]])
    table = "select symbol || '@' || price as what, price as seq, date_trunc('minute', moment) as minute from source"
    folder.expect("table.jsonl", sql(table, source=source))
    folder.expect("names.jsonl", trades[["trade_id", "trade_date", "price"]])


@case
def filter(folder, rng):  # noqa: A001  named like the operator
    ticks = make_ticks(rng, 120)
    ticks["venue"] = rng.choice(["x1", "y1", None], 120)
    ticks.loc[rng.random(120) < 0.2, "price"] = np.nan
    folder.put("ticks.jsonl", lines(rows_of(ticks)))
    for node, name in (("dear", "dear.jsonl"), ("odd", "odd.jsonl")):
        when = folder.flow["operators"][node]["when"]
        folder.expect(name, sql(f"select * from ticks where {when}", ticks=ticks).df())
    folder.put("expected/none.csv", "symbol,timestamp,price,volume,venue,seq\n")


@case
def keys(folder, rng):
    trades = make_ticks(rng, 150, ("aapl", "amzn", "bac")).rename(columns={"volume": "size"})
    trades["venue"] = rng.choice(["N", "Q"], 150)
    folder.put("trades.csv", csv(trades))
    trades["first"], trades["parity"] = trades.symbol.str[:1].str.upper(), trades["size"] % 2
    for node, name, key in (
        ("by_list", "list", ["venue", "symbol"]),
        ("by_expression", "expression", ["first"]),
        ("by_both", "both", ["parity", "venue"]),
        ("all_together", "none", []),
    ):
        call = folder.flow["operators"][node]["columns"]
        assert call == {"lag": "lag(price, 1)"}
        lag = trades.groupby(key).price.shift(1) if key else trades.price.shift(1)
        folder.expect(f"{name}.jsonl", trades.assign(lag=lag).drop(columns=["first", "parity"]))


@case
def environment(folder, rng):
    ticks = make_ticks(rng, 10)
    folder.put("in/ticks.jsonl", lines(rows_of(ticks)))
    folder.put("key.txt", "symbol\n")
    folder.expect("out.jsonl", ticks.assign(label="$in")[["symbol", "timestamp", "price", "label"]])


# ---- Alerts -----------------------------------------------------------------------------------------------------------


def alerts(folder, node, ticks, when, resolve=None, says=None):
    """The rows of an alert, and those with which it is over: `when`, `resolve` and `says` tell of a row and the price of
    the last alert whether it would fire, whether it would be over, and what is said."""
    spec = folder.flow["operators"][node]
    cooldown = pd.Timedelta(spec.get("cooldown", "0s")).value
    repeat, severity = spec.get("repeat", False), spec.get("severity", "warning")
    says = says or (lambda row, last: f"{row.symbol}: {spec['when']}")
    active, alerted, last, fired, resolved = {}, {}, {}, [], []
    for at, row in enumerate(ticks.itertuples()):
        key, now = row.symbol, row.timestamp.value
        if not np.isnan(row.price):
            last.setdefault(key, row.price)
        before = last.get(key, np.nan)
        out = {"symbol": key, "timestamp": iso(now), "price": plain(row.price), "volume": row.volume, "alert": node}
        out |= {"severity": severity, "message": says(row, before), "at": at}
        if active.get(key) and not repeat:
            if resolve(row, before) if resolve else not when(row, before):
                active[key] = False
                resolved.append(out | {"status": "resolved"})
        elif when(row, before) and now - alerted.get(key, -(2**62)) >= cooldown:
            active[key], alerted[key] = True, now
            if not np.isnan(row.price):
                last[key] = row.price
            fired.append(out | {"status": "firing"})
    return fired, resolved


@case
def alert(folder, rng):
    ticks = make_ticks(rng, 400)
    ticks["price"] = np.round(100 * np.exp(rng.normal(0, 0.006, 400).cumsum()), 2)
    ticks.loc[rng.random(400) < 0.05, "price"] = np.nan
    folder.put("ticks.jsonl", lines(rows_of(ticks)))
    folder.put("limits.csv", "most,symbol,least\n90,A,10\n,C,50\n70,*,30\n")
    most, least = {"A": 90, "B": 70, "C": 70}, {"A": 10, "B": 30, "C": 50}
    frame = ticks.copy()
    for rows in ticks.groupby("symbol").groups.values():
        part = ticks.loc[rows]
        inputs = {"price": part.price.to_numpy(), "time": nanoseconds(part.timestamp).to_numpy()}
        for name, call in (("high", "max(price, '1m')"), ("rsi", "rsi(price, 5)"), ("sma", "sma(price, 10)")):
            (frame.loc[rows, name],) = generate.expected("talib", call, inputs).values()
        price = part.price.dropna()
        change = price / price.shift(1) - 1
        frame.loc[price.index, "change"] = change
        # What is null is not there for what comes after it.
        known = change.dropna()
        frame.loc[known.index, "deviation"] = known.rolling(20).std(ddof=0)
        for name, series in (("rsi", frame.loc[rows, "rsi"] - 70), ("sma", part.price - frame.loc[rows, "sma"])):
            series = series.dropna()
            frame.loc[series.index, f"{name}_side"], frame.loc[series.index, f"{name}_was"] = series, series.shift(1)
    # Nothing compares with NaN.
    made = {
        "spikes": alerts(
            folder,
            "spikes",
            frame,
            lambda row, _: row.volume > 80,
            None,
            lambda row, _: f"{row.symbol}: volume {row.volume}",
        ),
        "drops": alerts(
            folder,
            "drops",
            frame,
            lambda row, _: row.price < 0.98 * row.high,
            lambda row, _: row.price > 0.995 * row.high,
            lambda row, _: f"{row.symbol} at {shown(row.price)}, was {shown(row.high)}",
        ),
        "strong": alerts(
            folder,
            "strong",
            frame,
            lambda row, _: row.rsi_was <= 0 < row.rsi_side,
            None,
            lambda *_: "RSI {5} above 70",
        ),
        "weak": alerts(folder, "weak", frame, lambda row, _: row.sma_was >= 0 > row.sma_side),
        "moves": alerts(
            folder,
            "moves",
            frame,
            lambda row, last: abs(row.price / last - 1) >= 0.01,
            None,
            lambda row, last: f"{row.symbol}: {shown(last)} to {shown(row.price)}",
        ),
        "outliers": alerts(
            folder,
            "outliers",
            frame,
            lambda row, _: abs(row.change) > 2 * row.deviation,
            None,
            lambda row, _: f"{shown(np.round(100 * row.change, 2))} %",
        ),
        "limits": alerts(
            folder,
            "limits",
            frame,
            lambda row, _: row.volume > most[row.symbol],
            lambda row, _: row.volume < least[row.symbol],
            lambda row, _: f"{row.volume} over {most[row.symbol]}",
        ),
    }
    put = lambda name, rows: folder.expect(name, [{k: v for k, v in row.items() if k != "at"} for row in rows])
    in_order = lambda both: sorted([*both[0], *both[1]], key=lambda row: row["at"])
    put("spikes.jsonl", made["spikes"][0])
    put("no-spikes.jsonl", made["spikes"][1])
    put("strong.csv", made["strong"][0])
    for name in ("drops", "weak", "moves", "outliers", "limits"):
        # Nobody reads what says that a move is over.
        put(f"{name}.jsonl", in_order(made[name]))


def shown(number):
    """A number as a message shows it: eight digits, none of them in vain."""
    return "null" if np.isnan(number) else f"{number:.8g}"


# ---- Times ------------------------------------------------------------------------------------------------------------


@case
def time_units(folder, rng):
    ticks = make_ticks(rng, 60)[["symbol", "timestamp", "price"]].rename(columns={"timestamp": "t"})
    ticks["t"] = ticks.t.dt.floor("s")
    for name, unit in (("s", SECOND), ("ms", 10**6), ("us", 10**3), ("ns", 1)):
        frame = epoch(ticks, unit, "t")
        folder.put(f"{name}.jsonl", lines(rows_of(frame)))
        out = folder.indicators(f"of_{name}", ticks.rename(columns={"t": "timestamp"}))
        folder.expect(f"{name}.out.jsonl", epoch(out.rename(columns={"timestamp": "t"}), unit, "t"))


@case
def time_types(folder, rng):
    ticks = make_ticks(rng, 50, ("A", "B"))[["symbol", "timestamp", "price"]]
    ticks["timestamp"] = pd.to_datetime(START + np.arange(50) * 7_201 * SECOND)
    at = ticks.timestamp
    frame = ticks.drop(columns="timestamp").assign(
        ts_s=at.astype("int64") // SECOND,
        ts_ms=at.astype("int64") // 10**6,
        ts_us=at.astype("int64") // 10**3,
        ts_ns=at.astype("int64"),
        day=at.dt.strftime("%Y-%m-%d"),
        time=at.dt.strftime("%H:%M:%S"),
        iso=at.dt.strftime("%Y-%m-%dT%H:%M:%S"),
        offset=(at + pd.Timedelta("5h30m")).dt.strftime("%Y-%m-%dT%H:%M:%S+05:30"),
    )
    folder.put("times.jsonl", lines(rows_of(frame)))
    for name in folder.flow["sources"]:
        times = at.dt.floor("D") if name == "day" else at
        out = folder.indicators(f"of_{name}", ticks.assign(timestamp=times))
        folder.expect(f"{name}.jsonl", out[["symbol", "price", "mean"]])


# ---- Files and types --------------------------------------------------------------------------------------------------


def with_places(frame, text, file=0):
    """`seq`, file and offset of the rows of a text file with a header."""
    starts = np.cumsum([0, *(len(line.encode()) for line in text.splitlines(keepends=True))])[1:-1]
    return frame.assign(seq=(file << 40) + starts, file=file, at=starts)


@case
def built_in(folder, rng):
    ticks, parts = make_ticks(rng, 90), []
    for file, name in enumerate(["a", "b", "c"]):
        part = ticks.iloc[file * 30 : file * 30 + 30]
        folder.put(f"in/{name}.csv", csv(part))
        parts.append(with_places(part, csv(part), file))
    out = pd.concat(parts).assign(read=True)
    folder.expect("out.jsonl", out[["price", "seq", "file", "at", "read"]])
    folder.expect("plain.csv", out.rename(columns={"file": "_partition", "at": "_offset"})[["_partition", "_offset", "price"]])


@case
def dead_letters(folder, _):
    good = [{"symbol": "A", "timestamp": (START + i * SECOND) // 10**6, "price": 10.5 + i, "size": 1 + i} for i in range(4)]
    bad = {
        1: ('{"symbol": "A", "timestamp": 1704067200000, "price": "abc"}', 'price: "abc" is not a double'),
        2: ("not json", "not JSON: expected ident at line 1 column 2"),
        3: ('{"symbol": "A", "price": 1, "size": 1}', "it has no event time, or one that is out of range"),
        5: ('{"symbol": null, "timestamp": 1704067200000, "price": 1, "size": 1}', "it has no key"),
        6: ('{"symbol": "A", "timestamp": 1704067200000, "price": 1, "size": 0}', "Arrow error: Divide by zero error"),
        8: ('{"symbol": "A", "timestamp": 1704067200000, "price": 1, "size": 1.5}', "size: 1.5 is not a bigint"),
    }
    rest, text, letters = iter(good), "", []
    for number in range(len(good) + len(bad) + 1):
        if number in bad:
            line, reason = bad[number]
            place = {"job": "dead-letters", "node": "ticks", "topic": "ticks.jsonl", "partition": 0, "offset": len(text)}
            letters.append(place | {"reason": reason, "payload": {"text": line}})
        else:
            line = "" if number == 7 else lines([next(rest)]).strip()
        text += line + "\n"
    folder.put("ticks.jsonl", text)
    folder.put("expected/letters/dead-letters.jsonl", lines(letters))
    out = [{"symbol": row["symbol"], "timestamp": iso(row["timestamp"] * 10**6), "price": row["price"]} for row in good]
    folder.expect("out.jsonl", [row | {"lots": 100 // (1 + i)} for i, row in enumerate(out)])
    folder.expect("shares.csv", [{"symbol": row["symbol"], "price": row["price"]} for row in out])
    folder.totals(rows_in=4, rows_out=8, held_back=0, dead_letters=len(bad), skipped=0)


@case
def further_outputs(folder, _):
    job, letters = "further-outputs", []
    column, texts = {"ticks": "ticks.jsonl", "trades": "trades.csv"}, {"ticks": "", "trades": "symbol,timestamp,price\n"}
    out = {"ticks": [], "trades": []}

    def good(source, symbol, second, price):
        time = START + second * SECOND
        row = {"symbol": symbol, "timestamp": time // 10**6, "price": price}
        texts[source] += lines([row]) if source == "ticks" else ",".join(map(str, row.values())) + "\n"
        out[source].append(row | {"timestamp": iso(time)})

    def bad(source, line, reason):
        letter = {"job": job, "node": source, "topic": column[source], "partition": 0, "offset": len(texts[source])}
        letters.append(letter | {"reason": reason, "payload": line})
        texts[source] += line + "\n"

    bad("ticks", "not json", "not JSON: expected ident at line 1 column 2")
    for second in (1, 2, 3):
        good("ticks", "A", second, 10.5 + second)
    bad("ticks", '{"symbol": "B", "price": 7}', "it has no event time, or one that is out of range")
    bad("ticks", '{"symbol": "B", "timestamp": 1704067200000, "price": "much"}', 'price: "much" is not a double')
    good("ticks", "A", 9, 1)
    for second in (8, 7, 9):
        good("trades", "A", second, 20.5 + second)
    bad("trades", "A,1704067200000,dear", 'price: "dear" is not a double')
    bad("trades", ",1704067200000,1", "it has no key")
    for source, text in texts.items():
        folder.put(column[source], text)
    kept = sorted(letters, key=lambda letter: letter["offset"])
    kept = [letter | {"payload": {"text": letter["payload"]}} for letter in kept]
    folder.put("expected/letters/further-outputs.jsonl", lines(kept))
    folder.expect("ticks-out.jsonl", out["ticks"])
    folder.expect("trades-out.csv", sorted(out["trades"], key=lambda row: row["timestamp"]))
    folder.put("expected/refused.jsonl", lines(letter | {"timestamp": None, "key": None} for letter in letters))
    # The records have no timestamps: theirs is that of the latest row that was read with them.
    prices = [letter for letter in letters if letter["reason"].startswith("price")]
    place = lambda letter: {"place": f"{letter['topic']}@{letter['offset']}", "payload": letter["payload"]}
    folder.expect("prices.csv", [place(letter) | {"time": iso(START + 9 * SECOND), "seq": letter["offset"]} for letter in prices])
    folder.totals(rows_in=7, rows_out=14, held_back=0, dead_letters=5, skipped=0)


@case
def skip(folder, rng):
    ticks = make_ticks(rng, 20)[["symbol", "timestamp", "price"]]
    head, *rows = csv(ticks).splitlines()
    bad = ["A,yesterday,1", "A,2024-01-01T00:00:00Z", ",2024-01-01T00:00:00Z,1", "A,,1", 'A,2024-01-01T00:00:00Z,"1']
    folder.put("ticks.csv", "\n".join([head, *bad[:3], *rows[:10], *bad[3:], *rows[10:]]) + "\n")
    folder.expect("out.jsonl", ticks)
    folder.totals(rows_in=20, rows_out=20, held_back=0, dead_letters=0, skipped=len(bad))


@case
def csv_dialect(folder, _):
    text = """symbol;timestamp;price;size;open;day;note
"A";2024-01-01 00:00:00+00:00;1,5;10;true;2024-01-01;"x; ""y""
z"
B;"2024-01-01T00:00:01.25Z";"2.5";NA;FALSE;2024-01-02;"NA"
"B ";2024-01-01 01:00:00+01:00;NA;-7;NA;NA;NA
""".replace("1,5", "1.5")
    folder.put("trades.txt", text)
    read = sql(
        f"""select symbol, timestamp, price, size, open, day, note from read_csv('{folder.path}/trades.txt', delim=';', nullstr='NA',
            allow_quoted_nulls=false, types={{'timestamp': 'timestamptz', 'price': 'double', 'day': 'date'}})"""
    ).fetchall()
    names = ["symbol", "timestamp", "price", "size", "open", "day", "note"]
    rows = rows_of(pd.DataFrame(read, columns=names).astype(object))
    folder.expect("out.jsonl", [row | {"size": row["size"] and int(row["size"])} for row in rows])
    tabs = text.replace(";", "\t").replace("x\t", "x;").replace("NA", "")
    folder.put("trades.tsv", tabs.replace('"x; ""y""\nz"', "x"))
    for row in rows:
        row["note"] = row["note"] and {"NA": ""}.get(row["note"], "x")
    folder.expect("tabs.csv", rows)


@case
def json_strings(folder, rng):
    ticks = make_ticks(rng, 50)
    rows = []
    for i, tick in enumerate(ticks.itertuples()):
        row = {
            "exact": f"{rng.integers(1, 10**9) / 10**8:.8f}",
            "ignored": [{"price": 1}],
            "price": f"{tick.price:.5f}",
            "time": str(tick.timestamp.value // 1000),
            "symbol": tick.symbol,
            "size": [10, "10", 10.0, "1e1"][i % 4],
            "maker": [True, "true", "FALSE", None][i % 4],
        }
        rows.append(dict(rng.permutation(np.array(list(row.items()), dtype=object))))
    folder.put("trades.ndjson", lines(rows))
    frame = pd.DataFrame(rows)
    frame = frame.assign(timestamp=ticks.timestamp, price=ticks.price, exact=frame.exact.astype(float), size=10)
    frame["maker"] = [[True, True, False, None][i % 4] for i in range(50)]
    out = folder.indicators("vwap", frame[["symbol", "timestamp", "price", "exact", "size", "maker"]])
    folder.expect("out.jsonl", out.rename(columns={"timestamp": "time"}))


@case
def parquet(folder, rng):
    bars = make_bars(rng, 300)
    table = pa.table({
        "symbol": pa.array(bars.symbol).dictionary_encode(),
        "timestamp": pa.array(bars.timestamp, pa.timestamp("us", "Europe/Berlin")),
        "close": pa.array(bars.close, from_pandas=True),
        "volume": pa.array(bars.volume.astype(int), pa.uint16()),
        "levels": pa.array([[1.0]] * 300),
        "note": pa.array([None, "x", "yy"] * 100, pa.large_string()),
    })
    pq.write_table(table, folder.path / "bars.parquet", row_group_size=70)
    frame = bars[["symbol", "timestamp", "close", "volume"]].assign(note=[None, "x", "yy"] * 100, seq=range(300))
    folder.expect("out.jsonl", folder.indicators("indicators", frame))


@case
def glob(folder, rng):
    ticks = make_ticks(rng, 80)[["symbol", "timestamp", "price"]]
    parts = [ticks.iloc[at : at + 20] for at in range(0, 80, 20)]
    for name, part in zip(["2024-01-30", "2024-02-01", "2024-03-01", "other"], parts):
        folder.put(f"days/{name}.csv", csv(part))
    folder.expect("pattern.jsonl", folder.indicators("lags", pd.concat(parts[:2])))
    for name, part in zip(["b.csv", "a/c.csv", ".hidden.csv", "_temporary/x.csv"], parts):
        folder.put(f"tree/{name}", csv(part))
    folder.expect("folder.csv", pd.concat([parts[1], parts[0]]))
    hive = pl.from_pandas(ticks).with_columns(
        venue=pl.when(pl.col("price") > 100).then(pl.lit("N/Y")).otherwise(pl.lit("Q")), day=pl.lit("2024-01-01")
    )
    expected = []
    for venue, name in (("N/Y", "N%2FY"), ("Q", "Q")):
        rows = hive.filter(pl.col("venue") == venue)
        path = folder.put(f"hive/day=2024-01-01/venue={name}/part-0.parquet", "")
        rows.drop("venue", "day").write_parquet(path)
        expected.append(rows.to_pandas())
    folder.expect("partitions.jsonl", folder.indicators("hive_lags", pd.concat(expected)))


@case
def types(folder, _):
    ns = 1_709_210_733_123_456_789  # 2024-02-29T12:45:33.123456789Z
    time = ns % (86_400 * SECOND)
    id = "67e55044-10b1-426f-9247-bb680e5fe0c8"
    units = {"s": SECOND, "ms": 10**6, "us": 10**3, "ns": 1}
    said = {"name": "é\"\n", "id": id, "open": True, "count": -7, "volume": 2**62, "weight": 0.25, "price": 0.1}
    said |= {"size": 1234567890.12345678, "day": "2024-02-29"}
    expected = said | {"time": clock(time), "at": iso(ns)}
    expected |= {f"time_{unit}": clock(time // size * size) for unit, size in units.items()}
    expected |= {f"at_{unit}": iso(ns // size * size) for unit, size in units.items()}
    texts = said | expected | {"id": id.upper().replace("-", ""), "size": "1234567890.12345678", "open": "True"}
    texts |= {"count": "-7", "volume": str(2**62), "weight": "2.5e-1", "price": "0.1"}
    numbers = said | {"day": ns // (86_400 * SECOND), "time": time, "at": ns, "size": 0}
    numbers |= {f"time_{unit}": time // size for unit, size in units.items()}
    numbers |= {f"at_{unit}": ns // size for unit, size in units.items()}
    nulls = dict.fromkeys(said) | {"at_ns": ns}
    folder.put("all.jsonl", lines([texts, numbers, nulls]))
    rows = [expected, expected | {"size": 0}, dict.fromkeys(expected) | {"at_ns": iso(ns)}]
    folder.expect("out.jsonl", rows)
    folder.expect("out.csv", rows)
    # Parquet has no seconds; what was read back says so.
    folder.expect("lake.jsonl", rows)


def clock(ns):
    return iso(ns)[11:-1]


@case
def avsc(folder, rng):
    trades = make_ticks(rng, 40)
    trades["timestamp"] = trades.timestamp.dt.floor("ms")
    rows, expected = [], []
    for i, tick in enumerate(trades.itertuples()):
        day, time = str(tick.timestamp.date()), tick.timestamp.value % (86_400 * SECOND)
        id = f"00000000-0000-4000-8000-{i:012}"
        row = {"symbol": tick.symbol, "trade_id": id, "price": f"{tick.price:.4f}", "trade_date": day}
        row |= {"trade_time": time // 10**6, "side": ["buy", "sell"][i % 2], "fee": [None, 0.5][i % 2]}
        row["qty" if i % 3 else "quantity"] = tick.volume
        if i % 4 == 0:
            row |= {"venue": "X", "at": tick.timestamp.value // 10**3}
        rows.append(row)
        seen = {"symbol": tick.symbol, "trade_id": id, "price": tick.price, "trade_date": day, "trade_time": clock(time)}
        seen |= {"side": row["side"], "fee": row["fee"], "quantity": tick.volume, "venue": row.get("venue", "NYSE")}
        expected.append(seen | {"at": iso(tick.timestamp.value) if i % 4 == 0 else None})
    folder.put("trades.jsonl", lines(rows))
    means = folder.indicators("means", trades[["symbol", "timestamp", "price"]])
    folder.expect("out.jsonl", [row | {"mean_3": mean} for row, mean in zip(expected, means.mean_3.replace(np.nan, None))])


@case
def sinks(folder, rng):
    ticks = make_ticks(rng, 180)
    folder.put("ticks.csv", csv(ticks))
    ticks = with_places(ticks, csv(ticks)).drop(columns=["file", "at"])
    for name in ("a/new/folder/out.txt", "json-parts.jsonl", "csv-parts.jsonl"):
        folder.expect(name, ticks)
    folder.expect("out.csv", ticks)
    lake = ticks[["symbol", "seq", "price"]].assign(second=ticks.timestamp.dt.floor("s"))
    folder.expect("lake.jsonl", lake)
    folder.expect("stdout.jsonl", ticks[["symbol", "price"]])
    folder.totals(rows_in=180, rows_out=7 * 180, held_back=0, dead_letters=0, skipped=0)


@case
def lake(folder, rng):
    ticks = make_ticks(rng, 200)
    # Over some days, so that there are more folders than files may be open.
    ticks["timestamp"] = ticks.timestamp.min() + (ticks.timestamp - ticks.timestamp.min()) * 400
    ticks["venue"] = rng.choice(["N/A", "Ä=b", "q 1%"], len(ticks))
    folder.put("ticks.csv", csv(ticks))
    ticks = with_places(ticks, csv(ticks)).drop(columns=["file", "at"])
    day, hour = ticks.timestamp.dt.strftime("%Y-%m-%d"), ticks.timestamp.dt.strftime("%H")
    for (date, hour, symbol), rows in ticks.groupby([day, hour, ticks.symbol]):
        name = f"lake/date={date}/hour={hour}/symbol={symbol}.jsonl"
        folder.expect(name, rows[["seq", "timestamp", "price"]])
    for venue, name in {"N/A": "N%2FA", "Ä=b": "Ä%3Db", "q 1%": "q 1%25"}.items():
        folder.expect(f"venues/venue={name}.jsonl", ticks.loc[ticks.venue == venue, ["seq", "venue"]])
    folder.totals(rows_in=200, rows_out=400)


if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        CASES[name](Folder(name), np.random.default_rng(zlib.crc32(name.encode())))
