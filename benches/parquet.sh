#!/usr/bin/env bash
# From Parquet: sma 5, sma 10, rsi 14 and macd of every tick of 1000 interleaved symbols, or (NODE=bars) 10-second bars,
# discarded; one worker and two with exchange, in alternation. A run of no rows tells what starting costs.
. "$(dirname "$0")/lib.sh"
rows=${ROWS:-10000000}

cat >"$work/make.toml" <<EOF
version = 1
name = "make"
[sources.ticks]
type = "generator"
symbols = 1000
rate = 10000
regular = true
speed = "max"
duration = "$((rows / 10000))s"
select = ["symbol", "timestamp", "price", "volume"]
[sinks.out]
type = "parquet"
input = "ticks"
path = "ticks/"
roll_rows = 1000000000
EOF
flow() {
  cat <<EOF
version = 1
name = "$1"
[sources.ticks]
type = "file"
path = "$2"
time = "timestamp"
key = "symbol"
$(node "${NODE:-indicators}")
[sinks.out]
type = "discard"
input = "node"
EOF
}
"$tapeflow" --quiet run "$work/make.toml"
flow job "ticks/" >"$work/job.toml"
echo '{"symbol": "A", "timestamp": "2026-01-05T14:30:00Z", "price": 1.5, "volume": 1.0}' >"$work/one.jsonl"
flow start one.jsonl >"$work/start.toml"

for _ in $(seq "$runs"); do
  timed start "$tapeflow" --quiet run "$work/start.toml" --workers 2
  timed one-worker "$tapeflow" --quiet run "$work/job.toml" --workers 1
  timed two-workers "$tapeflow" --quiet run "$work/job.toml" --workers 2
done
machine
header
row start 1
row one-worker "$rows"
row two-workers "$rows"
