#!/usr/bin/env bash
# The main benchmark: JSON ticks (1000 symbols, 8 partitions, about 75 bytes, lz4) in a real Kafka on the same
# machine; sma 5, sma 10, rsi 14 and macd of every tick, or (NODE=bars) 10-second OHLCV and VWAP bars, discarded, at two
# workers; against one bare librdkafka `poll` consumer that does nothing. Wall and CPU are of the process, from exec to exit.
. "$(dirname "$0")/lib.sh"
rows=${ROWS:-10000000}
brokers=${KAFKA_BROKERS:?start a server: cluster/servers start; eval "\$(cluster/servers env)"}
topic=bench-ticks-$rows

cat >"$work/fill.toml" <<EOF
version = 1
name = "fill"
[sources.ticks]
type = "generator"
symbols = 1000
rate = 10000
regular = true
speed = "max"
duration = "$((rows / 10000))s"
[sinks.topic]
type = "kafka"
input = "ticks"
brokers = "$brokers"
topic = "$topic"
create = { partitions = 8, replication = 1 }
properties = { "compression.type" = "lz4", "linger.ms" = "50" }
[sinks.topic.select]
symbol = "symbol"
timestamp = "CAST(timestamp AS BIGINT) / 1000000"
price = "price"
volume = "volume"
EOF
cat >"$work/job.toml" <<EOF
version = 1
name = "bench"
[sources.ticks]
type = "kafka"
brokers = "$brokers"
topic = "$topic"
stop = "end"
schema = "$root/schemas/tick.avsc"
time = "timestamp"
key = "symbol"
$(node "${NODE:-indicators}")
[sinks.out]
type = "discard"
input = "node"
EOF
[ -n "${FILLED:-}" ] || "$tapeflow" --quiet run "$work/fill.toml" --workers 2
(cd "$root" && cargo bench --locked --no-run --bench kafka_poll) 2>"$work/build"
poll=$(sed -n 's/.*(\(.*kafka_poll-[0-9a-f]*\)).*/\1/p' "$work/build")
case $poll in /*) ;; *) poll=$root/$poll ;; esac

for _ in $(seq "$runs"); do
  timed bare-poll env KAFKA_BROKERS="$brokers" TOPIC="$topic" "$poll"
  timed two-workers "$tapeflow" --quiet run "$work/job.toml" --workers 2
  timed one-worker "$tapeflow" --quiet run "$work/job.toml" --workers 1
done
machine
header
for name in bare-poll one-worker two-workers; do row "$name" "$rows"; done
