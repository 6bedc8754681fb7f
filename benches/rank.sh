#!/usr/bin/env bash
# The dearest ten of 100, 1,000, 10,000 and 100,000 symbols, from Parquet: each tick moves the price of its symbol, `latest`
# keeps the newest tick of each, `rank` the first ten of these, told once an epoch, discarded. One worker and two, and
# `latest` alone, in alternation. A run of one row tells what starting costs.
. "$(dirname "$0")/lib.sh"
rows=${ROWS:-5000000}
sizes=${SYMBOLS:-100 1000 10000 100000}

make_ticks() {
  cat <<EOF
version = 1
name = "make"
[sources.ticks]
type = "generator"
symbols = $1
rate = 10000
regular = true
speed = "max"
duration = "$((rows / 10000))s"
select = ["symbol", "timestamp", "price", "volume"]
[sinks.out]
type = "parquet"
input = "ticks"
path = "ticks-$1/"
roll_rows = 1000000000
EOF
}
flow() {
  cat <<EOF
version = 1
name = "$1"
[sources.ticks]
type = "file"
path = "$2"
time = "timestamp"
key = "symbol"
[operators.newest]
type = "latest"
input = "ticks"
[operators.top]
type = "rank"
input = "newest"
order = "price desc"
limit = 10
[sinks.out]
type = "discard"
input = "$3"
EOF
}
echo '{"symbol": "A", "timestamp": "2026-01-05T14:30:00Z", "price": 1.5, "volume": 1.0}' >"$work/one.jsonl"
flow start one.jsonl top >"$work/start.toml"
for size in $sizes; do
  make_ticks "$size" >"$work/make.toml"
  "$tapeflow" --quiet run "$work/make.toml"
  flow top "ticks-$size/" top >"$work/top-$size.toml"
  flow latest "ticks-$size/" newest | sed '/operators.top/,/limit/d' >"$work/latest-$size.toml"
done

for _ in $(seq "$runs"); do
  timed start "$tapeflow" --quiet run "$work/start.toml" --workers 2
  for size in $sizes; do
    timed "latest-$size" "$tapeflow" --quiet run "$work/latest-$size.toml" --workers 1
    timed "top-$size" "$tapeflow" --quiet run "$work/top-$size.toml" --workers 1
    timed "top-$size-on-two" "$tapeflow" --quiet run "$work/top-$size.toml" --workers 2
  done
done
machine
header
row start 1
for size in $sizes; do
  for what in latest-$size top-$size top-$size-on-two; do row "$what" "$rows"; done
done
