"""Writes the golden files of the indicators next to itself.

    pip install ta-lib==0.8.2 numpy==2.4.6 pandas==3.1.1
    python tests/golden/talib/generate.py

A file holds one input series and what the indicators must give on it. Its first line names the columns, separated
by semicolons: inputs by their name, expected outputs as `dialect call suffix`, such as `talib macd(x, 12, 26, 9) _signal`.
An empty cell is null. Expected values come from others: TA-Lib for `talib`, pandas expressions for `pandas`, the formulas of
the Pine reference written out row by row for `tradingview`; nothing here is taken from our own code.
"""

import pathlib

import numpy as np
import pandas as pd
import talib

HERE = pathlib.Path(__file__).parent
MINUTE = 60 * 10**9


# ---- Pine, row by row -----------------------------------------------------------------------------------------------
# NaN is na; what is na is skipped: the result is na there and the state stays.


def pine_seeded(x, length, alpha):
    """ta.ema and ta.rma. The manual prints ta.ema with the first value as seed; charts show the mean, as in ta.rma."""
    out, seen, value = [], [], None
    for v in x:
        if np.isnan(v):
            out.append(np.nan)
            continue
        seen.append(v)
        if len(seen) == length:
            value = sum(seen) / length
        elif len(seen) > length:
            value = alpha * v + (1 - alpha) * value
        out.append(np.nan if value is None else value)
    return np.array(out)


def pine_ema(x, length):
    return pine_seeded(x, length, 2 / (length + 1))


def pine_rma(x, length):
    return pine_seeded(x, length, 1 / length)


def pine_sma(x, length):
    out, seen = [], []
    for v in x:
        if not np.isnan(v):
            seen.append(v)
        out.append(sum(seen[-length:]) / length if len(seen) >= length and not np.isnan(v) else np.nan)
    return np.array(out)


def pine_rsi(x, length):
    change = np.append(np.nan, x[1:] - x[:-1])
    up = pine_rma(np.maximum(change, 0), length)
    down = pine_rma(-np.minimum(change, 0), length)
    with np.errstate(all="ignore"):
        rsi = 100 - 100 / (1 + up / down)
    return np.where(np.isnan(up), np.nan, np.where(down == 0, 100, np.where(up == 0, 0, rsi)))


def pine_macd(x, fast, slow, signal):
    macd = pine_ema(x, fast) - pine_ema(x, slow)
    line = pine_ema(macd, signal)
    return macd, line, macd - line


def pine_bb(x, length, mult):
    basis, dev = pine_sma(x, length), np.full(len(x), np.nan)
    for i in range(length - 1, len(x)):
        dev[i] = mult * np.sqrt(sum((v - basis[i]) ** 2 for v in x[i - length + 1 : i + 1]) / length)
    return basis + dev, basis, basis - dev


def pine_atr(high, low, close, length):
    tr = [high[0] - low[0]]
    for i in range(1, len(close)):
        tr.append(max(high[i] - low[i], abs(high[i] - close[i - 1]), abs(low[i] - close[i - 1])))
    return pine_rma(np.array(tr), length)


def pine_stochastic(high, low, close, k, k_smooth, d):
    stoch = np.full(len(close), np.nan)
    for i in range(k - 1, len(close)):
        lowest, highest = min(low[i - k + 1 : i + 1]), max(high[i - k + 1 : i + 1])
        if highest != lowest:
            stoch[i] = 100 * (close[i] - lowest) / (highest - lowest)
    smooth = pine_sma(stoch, k_smooth)
    return smooth, pine_sma(smooth, d)


def pine_obv(close, volume):
    return np.cumsum(np.append(0, np.sign(close[1:] - close[:-1])) * volume)


def pine_roc(x, length):
    out = np.full(len(x), np.nan)
    for i in range(length, len(x)):
        if x[i - length] != 0:
            out[i] = 100 * (x[i] - x[i - length]) / x[i - length]
    return out


# ---- pandas ---------------------------------------------------------------------------------------------------------


def ewm(x, **how):
    return pd.Series(x).ewm(**how, adjust=False).mean()


def pandas_rsi(x, period):
    move = pd.Series(x).diff()
    up, down = ewm(move.clip(lower=0), alpha=1 / period), ewm(-move.clip(upper=0), alpha=1 / period)
    return (100 * up / (up + down)).where(up + down != 0, 50)


def pandas_macd(x, fast, slow, signal):
    macd = ewm(x, span=fast) - ewm(x, span=slow)
    line = ewm(macd, span=signal)
    return macd, line, macd - line


def pandas_std(x, period):
    """rolling(period).std(), each window by itself: pandas' own running sums are off by 4e-6 after jumps of 100."""
    return pd.Series(x).rolling(period).apply(np.std, raw=True, kwargs={"ddof": 1})


def pandas_bollinger(x, period, deviations):
    middle, width = pd.Series(x).rolling(period).mean(), deviations * pandas_std(x, period)
    return middle + width, middle, middle - width


def pandas_atr(high, low, close, period):
    high, low, close = map(pd.Series, (high, low, close))
    ranges = [high - low, (high - close.shift()).abs(), (low - close.shift()).abs()]
    return ewm(pd.concat(ranges, axis=1).max(axis=1), alpha=1 / period)


def pandas_stochastic(high, low, close, k, k_smooth, d):
    high, low, close = map(pd.Series, (high, low, close))
    lowest, highest = low.rolling(k).min(), high.rolling(k).max()
    fast = 100 * (close - lowest) / (highest - lowest)
    smooth = fast.rolling(k_smooth).mean()
    return smooth, smooth.rolling(d).mean()


def pandas_obv(close, volume):
    return (np.sign(pd.Series(close).diff()).fillna(0) * volume).cumsum()


def over(time, x, span):
    """A rolling window over rows, or over event time where the span is a text."""
    if isinstance(span, int):
        return pd.Series(x).rolling(span)
    return pd.Series(np.asarray(x), index=pd.to_datetime(time)).rolling(span.replace("m", "min"))


def session_vwap(time, price, volume):
    day = pd.to_datetime(pd.Series(time)).dt.date
    return (pd.Series(price) * volume).groupby(day).cumsum() / pd.Series(volume).groupby(day).cumsum()


def rolling_vwap(time, price, volume, span):
    return over(time, price * volume, span).sum().values / over(time, volume, span).sum().values


# ---- Which function gives what: name, suffixes, oracle(inputs, literals) ----------------------------------------------

SUFFIXES = {
    "macd": ["", "_signal", "_histogram"],
    "bollinger": ["_upper", "_middle", "_lower"],
    "stochastic": ["_k", "_d"],
}

ORACLES = {
    "talib": {
        "sma": talib.SMA,
        "ema": talib.EMA,
        "wma": talib.WMA,
        "rsi": talib.RSI,
        "macd": talib.MACD,
        "bollinger": lambda x, n, d: talib.BBANDS(x, n, d, d),
        "atr": talib.ATR,
        "stochastic": lambda h, l, c, k, s, d: talib.STOCH(h, l, c, k, s, 0, d, 0),
        "roc": talib.ROC,
        "momentum": talib.MOM,
        "obv": talib.OBV,
        "stddev": talib.STDDEV,
        "min": talib.MIN,
        "max": talib.MAX,
        "sum": talib.SUM,
    },
    "tradingview": {
        "sma": pine_sma,
        "ema": pine_ema,
        "rsi": pine_rsi,
        "macd": pine_macd,
        "bollinger": pine_bb,
        "atr": pine_atr,
        "stochastic": pine_stochastic,
        "obv": pine_obv,
        "roc": pine_roc,
    },
    "pandas": {
        "sma": lambda x, n: pd.Series(x).rolling(n).mean(),
        "ema": lambda x, n: ewm(x, span=n),
        "rsi": pandas_rsi,
        "macd": pandas_macd,
        "bollinger": pandas_bollinger,
        "atr": pandas_atr,
        "stochastic": pandas_stochastic,
        "obv": pandas_obv,
        "roc": lambda x, n: (100 * pd.Series(x).pct_change(n)).replace([np.inf, -np.inf], np.nan),
        "momentum": lambda x, n: pd.Series(x).diff(n),
        "stddev": pandas_std,
        "lag": lambda x, n: pd.Series(x).shift(n),
    },
}

# The oracles of what goes by time need it as their first argument.
TIMED = {
    "min": lambda t, x, span: over(t, x, span).min(),
    "max": lambda t, x, span: over(t, x, span).max(),
    "sum": lambda t, x, span: over(t, x, span).sum(),
    "mean": lambda t, x, span: over(t, x, span).mean(),
    "count": lambda t, x, span: over(t, x, span).count(),
    "quantile": lambda t, x, q, span: over(t, x, span).quantile(q),
    "vwap": lambda t, p, v, *span: (rolling_vwap if span else session_vwap)(t, p, v, *span),
}


def expected(dialect, call, inputs):
    """The outputs of one call as {header: values}; rows with a null in an input of the call are left out."""
    name, rest = call.rstrip(")").split("(")
    parts = [part.strip() for part in rest.split(",")]
    series = [part for part in parts if part in inputs]
    literals = [literal(part) for part in parts[len(series) :]]
    sound = np.all([np.isfinite(inputs[s]) for s in series], axis=0)
    columns = [inputs[s][sound] for s in series]
    oracle = ORACLES[dialect].get(name)
    if oracle is None or isinstance(literals[-1] if literals else None, str):
        oracle, columns = TIMED[name], [inputs["time"][sound], *columns]
    outputs = oracle(*columns, *literals)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    found = {}
    for suffix, values in zip(SUFFIXES.get(name, [""]), outputs, strict=True):
        column = np.full(len(sound), np.nan)
        column[sound] = values
        found[f"{dialect} {call} {suffix}".strip()] = column
    return found


def literal(text):
    if text.startswith("'"):
        return text.strip("'")
    return float(text) if "." in text else int(text)


def write(name, inputs, calls):
    columns = dict(inputs)
    for dialect, texts in calls.items():
        for text in texts:
            columns |= expected(dialect, text, inputs)
    lines = [";".join(columns)]
    for row in range(len(inputs["time"])):
        cells = []
        for header, values in columns.items():
            value = values[row]
            # 14 digits are enough for a tolerance of 1e-9; inputs are written as they are.
            form = str(value) if header in inputs else f"{value:.14g}"
            cells.append("" if np.isnan(value) else form)
        lines.append(";".join(cells))
    (HERE / f"{name}.csv").write_text("\n".join(lines) + "\n")


# ---- The series -----------------------------------------------------------------------------------------------------

PRICE = [
    *(f"{f}(x, {n})" for f in ("sma", "ema", "wma") for n in (1, 2, 5, 14, 50)),
    *(f"rsi(x, {n})" for n in (2, 5, 14, 30)),
    *(f"macd(x, {p})" for p in ("12, 26, 9", "3, 10, 4", "26, 12, 9", "5, 9, 1")),
    *(f"bollinger(x, {p})" for p in ("5, 2", "20, 2", "20, 1.5")),
    *(f"{f}(x, {n})" for f in ("roc", "momentum") for n in (1, 10)),
    *(f"stddev(x, {n})" for n in (2, 5, 20)),
    *(f"{f}(x, {n})" for f in ("min", "max", "sum") for n in (2, 5, 30)),
]
SHORT = [
    *(f"{f}(x, 5)" for f in ("sma", "ema", "wma", "rsi", "roc", "momentum", "stddev", "min", "max", "sum")),
    "rsi(x, 14)",
    "macd(x, 12, 26, 9)",
    "bollinger(x, 20, 2)",
]
OTHER = ["ema(x, 5)", "rsi(x, 5)", "rsi(x, 14)", "macd(x, 12, 26, 9)", "bollinger(x, 20, 2)", "roc(x, 5)"]
BARS = [
    *(f"atr(high, low, close, {n})" for n in (1, 5, 14)),
    *(f"stochastic(high, low, close, {p})" for p in ("5, 3, 3", "14, 3, 3", "14, 1, 5", "1, 1, 1")),
    "obv(close, volume)",
]
OTHER_BARS = [
    "atr(high, low, close, 14)",
    "stochastic(high, low, close, 14, 3, 3)",
    "stochastic(high, low, close, 3, 3, 2)",
    "obv(close, volume)",
]
WINDOWS = [
    *(f"{f}(x, {s})" for f in ("min", "max", "sum", "mean", "count") for s in ("'5m'", "'90m'")),
    *(f"quantile(x, {q}, {s})" for q in ("0.5", "0.9") for s in ("20", "'30m'")),
    "mean(x, 20)",
    "vwap(typical, volume)",
    "vwap(typical, volume, 20)",
    "vwap(typical, volume, '30m')",
    "lag(x, 1)",
    "lag(x, 7)",
]


def minutes(rows):
    return 1_700_000_000 * 10**9 + np.arange(rows) * MINUTE


def walk(rng):
    x = np.round(100 + rng.normal(0, 1, 300).cumsum(), 4)
    calls = {"talib": PRICE, "tradingview": OTHER, "pandas": [*OTHER, "stddev(x, 5)", "momentum(x, 5)"]}
    write("walk", {"time": minutes(300), "x": x}, calls)


def flat(_):
    x = np.full(80, 100.1)
    write("flat", {"time": minutes(80), "x": x}, {"talib": SHORT, "tradingview": OTHER, "pandas": OTHER})


def jumps(rng):
    """Levels far apart, flat stretches between them, and a price of 0."""
    levels = [100, 250.5, 80.1, 0, 3.3, 1000, 999.99, 20.02, 500]
    x = np.concatenate([np.full(n, level) for n, level in zip(rng.integers(8, 40, 9), levels)])
    write("jumps", {"time": minutes(len(x)), "x": x}, {"talib": SHORT, "tradingview": OTHER, "pandas": OTHER})


def nulls(rng):
    """One row in five is null and counts for nothing."""
    x = np.round(100 + rng.normal(0, 1, 200).cumsum(), 2)
    x[rng.random(200) < 0.2] = np.nan
    windows = [call for call in WINDOWS if not call.startswith("vwap")]
    calls = {"talib": SHORT, "tradingview": OTHER, "pandas": [*OTHER, *windows]}
    write("nulls", {"time": minutes(200), "x": x}, calls)


def bars(rng):
    """Bars of irregular times over three days, a dozen of them without a range, and trades of no volume."""
    rows = 300
    time = 1_700_000_000 * 10**9 + (rng.exponential(12, rows).round(3) * MINUTE).astype(np.int64).cumsum()
    close = np.round(50 * np.exp(rng.normal(0, 0.004, rows).cumsum()), 2)
    open_ = np.append(50.0, close[:-1])
    reach = rng.exponential(0.1, (2, rows))
    high = np.round(np.maximum(open_, close) + reach[0], 2)
    low = np.round(np.minimum(open_, close) - reach[1], 2)
    still = slice(100, 112)
    open_[still] = high[still] = low[still] = close[still] = close[100]
    volume = rng.integers(0, 5000, rows).astype(float)
    typical = np.round((high + low + close) / 3, 4)
    inputs = {"time": time, "open": open_, "high": high, "low": low, "close": close, "volume": volume}
    inputs |= {"typical": typical, "x": close}
    calls = {"talib": BARS, "tradingview": OTHER_BARS, "pandas": [*OTHER_BARS, *WINDOWS]}
    write("bars", inputs, calls)


if __name__ == "__main__":
    for seed, series in enumerate([walk, flat, jumps, nulls, bars]):
        series(np.random.default_rng(seed))
