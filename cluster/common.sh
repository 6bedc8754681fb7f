# What starting and stopping Kafka and Cassandra have in common. Sourced by their scripts, which set
#   server  kafka | cassandra          port    the default port
#   config  the file the server reads  usage   what may follow the script's name
# Needs bash, coreutils, flock and setsid (util-linux) and /proc: a stock Linux.

here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
deps=$(realpath -m "${TAPEFLOW_DEPS:-$here/../../.deps}")
# Where the server is reached.
host=127.0.0.1
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
install="sudo apt-get update && sudo apt-get install -y openjdk-17-jdk-headless maven"

# Seconds. A start takes about 7; the limits leave room for a machine that is busy compiling.
fetch_timeout=900
start_timeout=120
stop_timeout=60

say() { echo "$server: $*" >&2; }
fail() { say "$*"; exit 1; }
fail_usage() { say "$*"; say "usage: $0 $usage"; exit 2; }

# `--port 1` sets port=1, for every option that the usage line names.
options() {
  local name
  while [ $# -gt 0 ]; do
    case $1 in -h | --help)
      echo "usage: $0 $usage"
      exit
      ;;
    esac
    name=${1#--}
    [[ $1 == --* && $usage == *"[--$name "* ]] || fail_usage "unknown argument '$1'"
    [ -n "${2:-}" ] || fail_usage "$1 needs a value"
    printf -v "$name" %s "$2"
    shift 2
  done
  # The server takes the next port as well (see `launch`), so the last one is not for us.
  [[ $port =~ ^[1-9][0-9]{0,4}$ ]] && ((port < 65535)) || fail_usage "'$port' is no port: give 1 to 65534"
  next=$((port + 1))
  run=$(realpath -m "${data:-$deps/run/$server-$port}")
}

# One start or stop at a time in a directory: the second waits, and then finds the work done.
lock() {
  mkdir -p "$run"
  exec 9>"$run/lock"
  flock -w $((start_timeout + stop_timeout)) 9 ||
    fail "another start or stop has held $run/lock for $((start_timeout + stop_timeout)) s; end it and try again"
}

# Sets pid and succeeds if the server of this directory runs. A pid alone may belong to a stranger by now:
# the configuration file on its command line proves that it is ours.
running() {
  pid=$(cat "$run/pid" 2>/dev/null) && [ -n "$pid" ] && grep -qsF -- "$run/$config" "/proc/$pid/cmdline"
}

# need_java LEAST [MOST]
need_java() {
  command -v "$java" >/dev/null || fail "$java was not found (JAVA_HOME says where it is); to install: $install"
  local version
  version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p') || version=
  [ -n "$version" ] || fail "'$java -version' failed; run it to see why, or install Java 17: $install"
  ((version >= $1 && version <= ${2:-version})) ||
    fail "$server needs Java ${2:-$1${2:- or newer}}, and $java is Java $version; set JAVA_HOME, or install: $install"
}

# Fetches the jars into $jars, once per release: the pom they came from lies beside them, so a new one replaces them.
fetch() {
  jars=$deps/$server
  cmp -s "$here/pom.xml" "$jars/pom.xml" && return
  command -v mvn >/dev/null || fail "mvn was not found, and the jars are still to be fetched; to install: $install"
  mkdir -p "$deps"
  (
    flock -w "$fetch_timeout" 8 || fail "another start has been fetching for $fetch_timeout s; end it and try again"
    cmp -s "$here/pom.xml" "$jars/pom.xml" && exit
    say "fetching its jars with Maven (once)"
    # Fetched beside and then moved, so that a broken download is never taken for a whole one.
    rm -rf "$jars.part"
    timeout "$fetch_timeout" mvn -q -B -C -f "$here/pom.xml" \
      dependency:copy-dependencies -DoutputDirectory="$jars.part" >"$jars.mvn.log" 2>&1 || {
      cat "$jars.mvn.log" >&2
      fail "Maven could not fetch the jars, see above: check the network and ~/.m2/settings.xml, then start again"
    }
    cp "$here/pom.xml" "$jars.part/pom.xml"
    rm -rf "$jars"
    mv "$jars.part" "$jars"
  ) 8>"$deps/$server.lock"
}

# Prints the configuration: the template beside the script with its ${NAMES} filled in.
render() {
  local text
  text=$(<"$here/$config")
  text=${text//'${PORT}'/"$port"}
  text=${text//'${NEXT}'/"$next"}
  text=${text//'${HOST}'/"$host"}
  text=${text//'${ADVERTISED}'/"${advertised:-}"}
  text=${text//'${COMMITLOG}'/"${commitlog:-}"}
  printf '%s\n' "${text//'${RUN}'/"$run"}"
}

# If the server runs already: succeeds once it answers, or says why it is not the one that is asked for.
already_running() {
  running || return 1
  [ "$(render)" = "$(cat "$run/$config")" ] ||
    fail "runs from $run with other settings (pid $pid); stop it first, or give another --data"
  wait_until_it_answers
  say "already running at $host:$port (pid $pid, log $run/server.log)"
}

# ask REQUEST COUNT: sends bytes (as printf escapes) to the server and prints the first COUNT of the reply in hex.
ask() {
  (
    exec 3<>"/dev/tcp/$host/$port"
    printf "$1" >&3
    timeout 5 head -c "$2" <&3 | od -An -tx1 | tr -d ' \n'
  ) 2>/dev/null || true
}

# `answers` is the start script's own.
wait_until_it_answers() {
  local until=$((SECONDS + start_timeout))
  until answers; do
    if ! kill -0 "$pid" 2>/dev/null; then
      rm -f "$run/pid"
      tail -n 20 "$run/server.log" >&2
      fail "ended while starting; above is the end of $run/server.log. If its data is the trouble, remove $run"
    fi
    if ((SECONDS > until)); then
      tail -n 20 "$run/server.log" >&2
      fail "has not answered within $start_timeout s; above is the end of $run/server.log. It still runs (pid $pid):" \
        "start again to wait longer, or stop it"
    fi
    sleep 0.1
  done
}

in_use() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null || (: <"/dev/tcp/$host/$1") 2>/dev/null; }

# launch JAVA-ARGUMENT...: runs the server so that it outlives this script and its terminal, and waits for it.
launch() {
  local p until=$((SECONDS + 5))
  # Asked before, because the server's own complaint is a stack trace far down its log. Not given up at once, because
  # a server that was just killed holds its ports until the system has taken it apart.
  for p in "$port" "$next"; do
    while in_use "$p"; do
      ((SECONDS < until)) ||
        fail "port $p is in use by another program (it needs $port and $next; \`ss -ltnp\` names the holder):" \
          "end that program, or choose another --port"
      sleep 0.1
    done
  done
  # Standard output is the log, so that what the JVM itself has to say is in it too.
  [ ! -f "$run/server.log" ] || mv "$run/server.log" "$run/server.log.1"
  # Libraries are unpacked there, and a killed server leaves them behind; also, /tmp may forbid to run them.
  rm -rf "$run/tmp"
  mkdir "$run/tmp"
  # 9>&-: the server must not hold the lock.
  setsid "$java" "-Djava.io.tmpdir=$run/tmp" "$@" </dev/null >"$run/server.log" 2>&1 9>&- &
  pid=$!
  echo "$pid" >"$run/pid"
  wait_until_it_answers
  say "ready at $host:$port (pid $pid, log $run/server.log)"
}

gone_within() {
  local until=$((SECONDS + $1))
  while running; do
    ((SECONDS < until)) || return 1
    sleep 0.1
  done
}

# Ends the process $pid: asked first, killed when it does not listen.
end() {
  kill "$pid" 2>/dev/null || true
  if ! gone_within "$stop_timeout"; then
    say "has not ended within $stop_timeout s: killing it (pid $pid)"
    kill -9 "$pid" 2>/dev/null || true
    gone_within 10 || fail "cannot be killed (pid $pid); look at it with: ps -fp $pid"
  fi
  rm -f "$run/pid"
}

stop() {
  if [ -d "$run" ]; then
    lock
    if running; then
      end
      say "stopped (pid $pid; its data stays in $run)"
      return
    fi
    rm -f "$run/pid"
  fi
  say "not running (no server runs from $run)"
}
