#!/usr/bin/env bash
# Whether memory stays flat: RATE ticks/s of 1,000 symbols for SECONDS_OF_RUN through rolling windows of every kind, on one worker; the
# resident memory of the process and its CPU seconds, sampled from /proc EVERY so many seconds. STATE=1 keeps checkpoints, too.
. "$(dirname "$0")/lib.sh"
rate=${RATE:-100000} seconds=${SECONDS_OF_RUN:-1800} every=${EVERY:-120}
cat >"$work/job.toml" <<EOT
version = 1
name = "memory"
[sources.ticks]
type = "generator"
symbols = 1000
rate = $rate
[operators.rolling]
type = "indicators"
input = "ticks"
emit = "all"
columns = { mean_1m = "mean(price, '1m')", high_1m = "max(price, '1m')", sma_20 = "sma(price, 20)", median = "quantile(price, 0.5, 50)" }
[operators.hops]
type = "window"
input = "ticks"
hopping = { size = "1m", slide = "10s" }
late = "revise"
revise_for = "1m"
columns = { high = "max(price)", low = "min(price)", vwap = "sum(price * volume) / sum(volume)" }
[operators.minute]
type = "aggregate"
input = "ticks"
over = "1m"
columns = { mean = "mean(price)", most = "max(volume)" }
[operators.newest]
type = "latest"
input = "ticks"
[operators.top]
type = "rank"
input = "newest"
order = "price desc"
limit = 10
[operators.once]
type = "distinct"
input = "ticks"
id = "concat(symbol, CAST(timestamp AS TEXT))"
horizon = "10s"
[sinks.out_rolling]
type = "discard"
input = "rolling"
[sinks.out_hops]
type = "discard"
input = "hops"
[sinks.out_minute]
type = "discard"
input = "minute"
[sinks.out_top]
type = "discard"
input = "top"
[sinks.out_once]
type = "discard"
input = "once"
EOT
"$tapeflow" --quiet run "$work/job.toml" --workers 1 ${STATE:+--state "$work/state"} >"$work/out" 2>"$work/err" &
pid=$!
trap 'kill $pid 2>/dev/null; wait $pid 2>/dev/null; rm -rf "$work"' EXIT
machine
echo "| seconds | resident MB | CPU s |"
echo "|---|---|---|"
for at in $(seq "$every" "$every" "$seconds"); do
  sleep "$every"
  resident=$(awk '/^VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status" 2>/dev/null) || { cat "$work/err" >&2; exit 1; }
  ticks=$(awk '{print $14 + $15}' "/proc/$pid/stat")
  echo "| $at | $resident | $((ticks / $(getconf CLK_TCK))) |"
done
