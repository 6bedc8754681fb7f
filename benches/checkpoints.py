"""Checkpoints of a million keys with four indicators each: what they cost, and how soon rows flow again after a kill.

    python benches/checkpoints.py [--bin PATH] [--runs 3] [--folder DIR]

Two markets in Parquet: in one a tenth of the keys trades between two checkpoints (the tenth moves on), in the other all of
them do. Each is run on one worker without and with a state store, in alternation, with checkpoints of 10 s. Then a run
is killed (SIGKILL) after its first checkpoint and begun again: the time is from exec to the first rows behind the operator.
Needs the packages numpy and pyarrow.
"""
import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.request

import numpy
import pyarrow
import pyarrow.parquet

KEYS, FILE, HTTP = 1_000_000, 15_000_000, "127.0.0.1:19471"
FLOW = """
version = 1
name = "{market}"
[job]
checkpoint = "10s"
[sources.ticks]
type = "file"
path = "{market}/*.parquet"
time = "timestamp"
key = "symbol"
[operators.indicators]
type = "indicators"
input = "ticks"
emit = "all"
[operators.indicators.columns]
sma_20 = "sma(price, 20)"
ema_20 = "ema(price, 20)"
rsi_14 = "rsi(price, 14)"
macd = "macd(price, 12, 26, 9)"
[sinks.out]
type = "discard"
input = "indicators"
"""


def make(folder, files):
    """The markets: every key once, then files of random trades, of a tenth of the keys or of all."""
    random = numpy.random.default_rng(5)
    names = pyarrow.array([f"K{key:07}" for key in range(KEYS)])
    schema = pyarrow.schema([("symbol", pyarrow.string()), ("timestamp", pyarrow.timestamp("ms")),
                             ("price", pyarrow.float64())])
    for market in ("tenth", "all"):
        os.makedirs(f"{folder}/{market}")
        clock = 1_767_600_000_000
        for file in range(files + 1):
            begin, end = (0, KEYS) if market == "all" else ((file - 1) * KEYS // 10, file * KEYS // 10)
            with pyarrow.parquet.ParquetWriter(f"{folder}/{market}/{file:02}.parquet", schema, compression="lz4",
                                               use_dictionary=False) as writer:
                for _ in range(1 if file == 0 else FILE // KEYS):
                    keys = numpy.arange(KEYS) if file == 0 else random.integers(begin, end, KEYS)
                    times = clock + numpy.arange(KEYS) // 1000
                    clock = times[-1] + 1
                    prices = numpy.round(100 + random.standard_normal(KEYS), 2)
                    columns = [names.take(pyarrow.array(keys)), pyarrow.array(times, pyarrow.timestamp("ms")),
                               pyarrow.array(prices)]
                    writer.write_table(pyarrow.table(columns, schema=schema))
        with open(f"{folder}/{market}.toml", "w") as flow:
            flow.write(FLOW.format(market=market))


def start(options, folder, market, *more):
    command = [options.bin, "run", "--json", f"{folder}/{market}.toml", "--workers", "1", *more]
    environment = {**os.environ, "RUST_LOG": "tapeflow=debug"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def run(options, folder, market, *more):
    """Wall seconds, CPU seconds, peak MB and checkpoints of one run."""
    began, job = time.time(), start(options, folder, market, *more)
    errors = job.stderr.read()
    _, status, usage = os.wait4(job.pid, 0)
    if status != 0:
        raise SystemExit(errors)
    checkpoints = re.findall(r"(full )?checkpoint \d+: (\d+) bytes, (\S+)", errors)
    return time.time() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, checkpoints


def rows_out():
    try:
        text = urllib.request.urlopen(f"http://{HTTP}/metrics", timeout=1).read().decode()
    except OSError:
        return 0
    found = re.findall(r'tapeflow_records_out_total\{.*operator="indicators".*\} (\d+)', text)
    return sum(map(int, found))


def after_a_kill(options, folder, market):
    """Seconds from exec to the first rows behind an operator that has gone on from a checkpoint."""
    state = tempfile.mkdtemp(dir=folder)
    job = start(options, folder, market, "--state", state)
    for line in job.stderr:
        if "checkpoint 2:" in line:
            break
    else:
        raise SystemExit("it ended before its second checkpoint")
    job.send_signal(signal.SIGKILL)
    job.wait()
    began = time.time()
    again = start(options, folder, market, "--state", state, "--http", HTTP)
    while rows_out() == 0 and again.poll() is None:
        time.sleep(0.02)
    took = time.time() - began
    again.send_signal(signal.SIGKILL)
    if "goes on from checkpoint" not in again.stderr.read():
        raise SystemExit("it has begun anew")
    again.wait()
    return took


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--bin", default="target/release/tapeflow")
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--files", type=int, default=6)
    arguments.add_argument("--folder")
    options = arguments.parse_args()
    folder = tempfile.mkdtemp(dir=options.folder)
    make(folder, options.files)
    for market in ("tenth", "all"):
        times = {"without": [], "with": []}
        for _ in range(options.runs):
            for kind, found in times.items():
                state = tempfile.mkdtemp(dir=folder)
                found.append(run(options, folder, market, *(["--state", state] if kind == "with" else [])))
                shutil.rmtree(state)
        for kind, found in times.items():
            wall, cpu, peak = (round(statistics.median(run[at] for run in found), 2) for at in range(3))
            print(json.dumps({"market": market, "state": kind, "wall_s": wall, "cpu_s": cpu, "peak_mb": round(peak),
                              "checkpoints": [f"{full}{int(size) / 1e6:.1f} MB, {took}" for full, size, took in found[-1][3]]}))
        print(json.dumps({"market": market, "s_from_exec_to_rows": [round(after_a_kill(options, folder, market), 2) for _ in range(options.runs)]}))
    shutil.rmtree(folder)


main()
