#!/usr/bin/env bash
# The cassandra sink beside the bare driver in its best way, in alternation, into tables made anew; rows a second, the
# time to start not counted.
#   backfill  3,000 rows of nine columns for each of 100 symbols; bare: batches of 50 rows of a partition, 64 in flight
#   live      a row for each of 1,000 symbols an epoch, more than the server can take; bare: 1,024 single inserts in flight
# CASSANDRA names the server. `cargo build --release --bins` and `cargo bench --bench cassandra_bare --no-run` come first.
. "$(dirname "$0")/lib.sh"
: "${CASSANDRA:?names the server, host:port}"
export CASSANDRA
bare=$(ls -t "$target"/release/deps/cassandra_bare-* | grep -v '\.d$' | head -1)

# flow NAME SYMBOLS RATE DURATION SPEED EPOCH
flow() {
  cat >"$work/$1.toml" <<END
version = 1
name = "$1"
[job]
epoch = "$6"
[cassandra]
contact_points = "\${CASSANDRA}"
keyspace = "bench"
create = true
[sources.ticks]
type = "generator"
symbols = $2
rate = $3
regular = true
duration = "$4"
speed = $5
[sinks.rows]
type = "cassandra"
input = "ticks"
table = "$1"
partition_key = "symbol"
clustering_key = ["timestamp", "seq"]
[sinks.rows.select]
symbol = "symbol"
timestamp = "timestamp"
seq = "seq"
a = "price"
b = "price + 0.1"
c = "price - 0.1"
d = "price * 1.001"
e = "price * 0.999"
f = "volume"
END
}
flow backfill 100 1000 300s '"max"' 100ms
flow live 1000 100000 3s 1 10ms

# ran MODE: rows a second of tapeflow.
ran() {
  "$tapeflow" --quiet run "$work/$1.toml" --json 2>/dev/null |
    sed 's/.*"seconds":\([0-9.]*\).*"rows_out":\([0-9]*\).*/\1 \2/' | awk '{ printf "%.0f\n", $2 / $1 }'
}

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# Which of the two comes first changes from run to run, and each begins with an empty keyspace.
for mode in backfill live; do
  symbols=100 rows=3000
  [ $mode = backfill ] || symbols=1000 rows=300
  for run in $(seq "$runs"); do
    for who in $([ $((run % 2)) = 0 ] && echo bare tapeflow || echo tapeflow bare); do
      "$bare" nothing
      if [ "$who" = bare ]; then "$bare" $mode $symbols $rows; else ran $mode; fi >>"$work/$mode.$who"
    done
  done
done
machine
echo "| what | bare driver, rows/s | tapeflow, rows/s | ratio |"
echo "|---|---|---|---|"
for mode in backfill live; do
  one=$(median "$work/$mode.bare") two=$(median "$work/$mode.tapeflow")
  awk -v m=$mode -v a="$one" -v b="$two" 'BEGIN { printf "| %s | %d | %d | %.2f |\n", m, a, b, b / a }'
done
