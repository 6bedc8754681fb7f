#!/usr/bin/env bash
# A sink that stands still while its source could go on: the memory of the process is sampled from /proc, twice a second.
# Ticks of KAFKA_BROKERS go, as fast as they can be read, through sma, rsi and a mean over time into
#   discard       nothing stands still: what the job needs by itself
#   cassandra     a server that is stopped (SIGSTOP) for STALL seconds in the middle
#   exactly_once  a broker that is stopped likewise
#   pipe          a reader of 2 MB/s, for twice STALL seconds; then it is asked to end
# The servers that are stopped are its own, on ports of their own. ROWS, STALL, MEMORY (of `[job]`, a worker) and FETCH (of
# the source, a worker) may be set. `cargo build --release --bins` comes first.
. "$(dirname "$0")/lib.sh"
: "${KAFKA_BROKERS:?names the broker to read from, host:port}"
export KAFKA_BROKERS
rows=${ROWS:-3000000} stall=${STALL:-60} memory=${MEMORY:-32MB} fetch=${FETCH:-16MB} symbols=1000
kafka=29192 cassandra=29142
trap 'kill -CONT "$(cat "$work/kafka/pid")" "$(cat "$work/cassandra/pid")" 2>/dev/null
  "$root/cluster/kafka/stop" --data "$work/kafka" --port $kafka; "$root/cluster/cassandra/stop" --data "$work/cassandra" --port $cassandra
  rm -rf "$work"' EXIT
"$root/cluster/kafka/start" --port $kafka --data "$work/kafka" >&2
"$root/cluster/cassandra/start" --port $cassandra --data "$work/cassandra" >&2
topic=backpressure-$$
"$tapeflow" --quiet generate --topic $topic --partitions 4 --symbols $symbols --count "$rows" --speed max >&2

# flow NAME SINK...: lines of a sink.
flow() {
  local name=$1
  shift
  cat >"$work/$name.toml" <<END
version = 1
name = "$name-$$"
[job]
memory = "$memory"
[sources.ticks]
type = "kafka"
brokers = "$KAFKA_BROKERS"
topic = "$topic"
memory = "$fetch"
stop = "end"
schema = { symbol = "text", timestamp = "timestamp_ms", price = "double", volume = "double" }
time = "timestamp"
key = "symbol"
[operators.indicators]
type = "indicators"
input = "ticks"
emit = "all"
columns = { sma_10 = "sma(price, 10)", rsi_14 = "rsi(price, 14)", mean_1m = "mean(price, '1m')" }
[sinks.out]
input = "indicators"
$(printf '%s\n' "$@")
END
}
flow discard 'type = "discard"'
flow cassandra 'type = "cassandra"' "contact_points = \"127.0.0.1:$cassandra\"" 'keyspace = "bench"' 'create = true' \
  'table = "backpressure"' 'partition_key = "symbol"' 'clustering_key = ["timestamp", "seq"]'
flow exactly_once 'type = "kafka"' "brokers = \"127.0.0.1:$kafka\"" 'topic = "out"' 'guarantee = "exactly_once"' \
  'create = { partitions = 4 }'
flow pipe 'type = "file"' "path = \"$work/pipe.jsonl\"" 'format = "json"'

# run NAME [SERVER]: samples the memory until it ends; the server is stopped from the third second on.
run() {
  local name=$1 server=${2:-} began=$SECONDS peak=0 middle=0 size code=0 reader=
  if [ "$name" = pipe ]; then
    mkfifo "$work/pipe.jsonl"
    # A megabyte each half second.
    { while dd bs=1M count=1 iflag=fullblock of=/dev/null status=none && sleep 0.5; do :; done; } <"$work/pipe.jsonl" &
    reader=$!
  fi
  "$tapeflow" run "$work/$name.toml" --workers 2 --json >"$work/$name.json" 2>"$work/$name.err" &
  local job=$!
  while size=$(awk '/^VmRSS/ {print $2}' "/proc/$job/status" 2>/dev/null) && [ -n "$size" ]; do
    ((size <= peak)) || peak=$size
    if [ -n "$server" ]; then
      ((SECONDS - began != 3)) || kill -STOP "$server"
      ((SECONDS - began < stall + 3)) || { kill -CONT "$server"; server=; }
    fi
    # What it holds when the sink has stood for a while.
    ((SECONDS - began < stall / 2 + 3)) || ((middle)) || middle=$size
    [ -z "$reader" ] || ((SECONDS - began < 2 * stall)) || { kill -INT $job; sleep 2; kill $reader; reader=; cat "$work/pipe.jsonl" >/dev/null & }
    sleep 0.5
  done
  wait $job || code=$?
  local read
  read=$(sed -n 's/.*"rows_in":\([0-9]*\).*/\1/p' "$work/$name.json")
  [ $code = 0 ] || sed 's/^/    /' "$work/$name.err" >&2
  echo "| $name | ${read:-?} | $((SECONDS - began)) | $((middle / 1024)) | $((peak / 1024)) | $code |"
}

machine
echo "memory = $memory and $fetch fetched ahead, a worker; two workers; $rows rows; stopped for $stall s"
echo "| sink | rows | seconds | MB half-way through the stop | peak MB | exit code |"
echo "|---|---|---|---|---|---|"
run discard
run cassandra "$(cat "$work/cassandra/pid")"
run exactly_once "$(cat "$work/kafka/pid")"
run pipe
