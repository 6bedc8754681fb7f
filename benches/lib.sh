# What the benchmarks share: medians of alternating runs. Sourced by them.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
tapeflow=$target/release/tapeflow
runs=${RUNS:-5}
work=$(mktemp -d "${TMPDIR:-/tmp}/tapeflow-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT

# machine: one line for the results.
machine() {
  echo "$(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(free -g | awk '/^Mem/ {print $2}') GiB," \
    "commit $(git -C "$root" describe --always --dirty), load $(cut -d' ' -f1 /proc/loadavg)"
}

# timed NAME COMMAND...: runs it once and notes wall seconds, CPU seconds and peak kB under NAME.
timed() {
  local name=$1
  shift
  /usr/bin/env time -a -o "$work/$name.times" -f '%e %U %S %M' "$@" >"$work/$name.out" 2>"$work/$name.err" ||
    { cat "$work/$name.err" >&2; return 1; }
}

# row NAME ROWS: the medians of NAME as a line of a table.
row() {
  awk -v name="$1" -v rows="$2" '
    { wall[NR] = $1; cpu[NR] = $2 + $3; if ($4 > peak) peak = $4 }
    function median(list, n,   i, j, swap) {
      for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (list[j] < list[i]) { swap = list[i]; list[i] = list[j]; list[j] = swap }
      return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
    }
    END {
      w = median(wall, NR); c = median(cpu, NR)
      printf "| %s | %.2f | %.2f | %.2f | %.2f | %d |\n", name, w, rows / w / 1e6, c, c / rows * 1e6, peak / 1024
    }' "$work/$1.times"
}

header() {
  echo "| what | wall s | million rows/s | CPU s | CPU s a million | peak MB |"
  echo "|---|---|---|---|---|---|"
}

# node NAME: the operator that is measured, named `node`, of rows of `ticks`.
node() {
  case $1 in
    indicators)
      cat <<'EOF'
[operators.node]
type = "indicators"
input = "ticks"
emit = "all"
columns = { sma_5 = "sma(price, 5)", sma_10 = "sma(price, 10)", rsi_14 = "rsi(price, 14)", macd = "macd(price, 12, 26, 9)" }
EOF
      ;;
    bars)
      cat <<'EOF'
[operators.node]
type = "window"
input = "ticks"
tumbling = "10s"
[operators.node.columns]
open = "first(price)"
high = "max(price)"
low = "min(price)"
close = "last(price)"
volume = "sum(volume)"
vwap = "sum(price * volume) / sum(volume)"
EOF
      ;;
    *) echo "there is no node $1: indicators, bars" >&2; return 1 ;;
  esac
}
