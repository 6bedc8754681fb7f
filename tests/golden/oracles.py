"""What the makers of the golden cases share: rows as our files write them, the calls of a dataflow file by the oracles."""

import csv as csv_files
import datetime as dt
import io
import json
import math
import pathlib
import sys
import tomllib

import duckdb
import numpy as np
import pandas as pd

HERE = pathlib.Path(__file__).parent
CASES = HERE / "cases"
sys.path.insert(0, str(HERE / "talib"))
import generate  # noqa: E402

SECOND = 10**9
START = 1_704_067_200 * SECOND  # 2024-01-01


# ---- Writing --------------------------------------------------------------------------------------------------------


def plain(value):
    """A value as it stands in JSON: times in RFC 3339, as many digits as they need."""
    if value is None or value is pd.NaT or isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.13g}")  # enough for a tolerance of 1e-9
    if isinstance(value, (pd.Timestamp, dt.datetime)):
        return iso(pd.Timestamp(value).value)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    return value


def iso(ns):
    seconds, fraction = divmod(int(ns), SECOND)
    text = dt.datetime.fromtimestamp(seconds, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def rows_of(frame):
    """The rows of a pandas, polars or DuckDB table."""
    if isinstance(frame, list):
        return frame
    columns = list(frame.columns)
    rows = frame.fetchall() if isinstance(frame, duckdb.DuckDBPyRelation) else frame.to_numpy(dtype=object)
    return [dict(zip(columns, map(plain, row))) for row in rows]


class Folder:
    """The folder of one case."""

    rows = staticmethod(rows_of)

    def __init__(self, name):
        self.path = CASES / name
        self.flow = tomllib.loads((self.path / "flow.toml").read_text())

    def put(self, name, content):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def expect(self, name, rows):
        """The rows of the output `name`."""
        rows = rows_of(rows)
        if name.endswith(".csv"):
            out = io.StringIO()
            writer = csv_files.writer(out, lineterminator="\n")
            writer.writerow(rows[0])
            writer.writerows([text(value) for value in row.values()] for row in rows)
            self.put(f"expected/{name}", out.getvalue())
        else:
            self.put(f"expected/{name}", lines(rows))

    def totals(self, **totals):
        self.put("expected/totals.json", json.dumps(totals) + "\n")

    def indicators(self, node, frame, key=("symbol",)):
        """`frame` (with `timestamp` in ns, or times) and the columns that the node adds, computed by the oracles."""
        spec = self.flow["operators"][node]
        out = frame.reset_index(drop=True).copy()
        for rows in out.groupby(list(key), sort=False).groups.values() if key else [out.index]:
            part = out.loc[rows]
            numbers = part.select_dtypes("number").columns
            inputs = {column: part[column].to_numpy(float) for column in numbers}
            inputs["time"] = nanoseconds(part["timestamp"]).to_numpy()
            for name, call in spec["columns"].items():
                series = call[call.index("(") + 1 :].split(",")[0].strip()
                if series not in inputs:
                    inputs[series] = part.eval(series).to_numpy(float)
                for header, values in generate.expected(dialect(spec, call), call, inputs).items():
                    out.loc[rows, name + header.rsplit(")", 1)[1].strip()] = values
        added = out.columns[len(frame.columns) :]
        if spec.get("emit", "warm") == "warm":
            out = out[out[added].notna().all(axis=1)]
        return out


def dialect(spec, call):
    """Whose oracle computes a call: where the dialects do not differ not all have one."""
    name, compat = call.split("(")[0], spec.get("compat", "talib")
    return compat if name in generate.ORACLES[compat] or name in generate.TIMED else "pandas"


def text(value):
    """A value as it stands in CSV."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def sql(query, **tables):
    for name, table in tables.items():
        duckdb.register(name, table)
    return duckdb.sql(query)


# ---- Inputs ---------------------------------------------------------------------------------------------------------


def milliseconds(rng, rows, mean):
    """Rising times, `mean` seconds apart, in ns."""
    return (rng.exponential(mean * 1000, rows).astype(np.int64) * 10**6).cumsum()


def make_bars(rng, rows=180):
    """Bars of three symbols, irregular in time, over midnight; some have no close, some no volume."""
    time = START + 20 * 3600 * SECOND + milliseconds(rng, rows, 45)
    frame = pd.DataFrame({"symbol": rng.choice(["A", "B", "C"], rows), "timestamp": pd.to_datetime(time)})
    close = np.round(50 * np.exp(rng.normal(0, 0.004, rows).cumsum()), 2)
    reach = rng.exponential(0.1, (2, rows))
    frame["open"] = np.append(50.0, close[:-1])
    frame["high"] = np.round(np.maximum(frame.open, close) + reach[0], 2)
    frame["low"] = np.round(np.minimum(frame.open, close) - reach[1], 2)
    frame["close"] = np.where(rng.random(rows) < 0.04, np.nan, close)
    frame["volume"] = rng.integers(0, 5000, rows).astype(float)
    frame["typical"] = np.round((frame.high + frame.low + close) / 3, 4)
    return frame


def make_ticks(rng, rows=200, symbols=("A", "B", "C")):
    time = START + milliseconds(rng, rows, 2)
    frame = pd.DataFrame({"symbol": rng.choice(list(symbols), rows), "timestamp": pd.to_datetime(time)})
    frame["price"] = np.round(100 + rng.normal(0, 1, rows).cumsum(), 2)
    frame["volume"] = rng.integers(1, 100, rows)
    return frame


def csv(frame, **how):
    frame = frame.copy()
    for column in frame.select_dtypes("datetime").columns:
        frame[column] = frame[column].map(plain)
    return frame.to_csv(index=False, lineterminator="\n", **how)


def epoch(frame, unit, name="timestamp"):
    """The same rows, their times as integers."""
    return frame.assign(**{name: nanoseconds(frame[name]) // unit})


def nanoseconds(times):
    return times.astype("datetime64[ns]").astype("int64")
