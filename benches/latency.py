"""Latency: how long after a message was produced its row can be read, from another topic or from a table.

    KAFKA_BROKERS=127.0.0.1:9092 python benches/latency.py [--to kafka] [--rate 1000] [--seconds 60] [--workers 2]
        [--bin PATH] [--guarantee exactly_once] [--epoch 10ms]
    KAFKA_BROKERS=... CASSANDRA=127.0.0.1:9042 python benches/latency.py --to cassandra

Messages of 1000 symbols are produced with linger 0, carry the time they were produced, go through the four
indicators of the README and come back; both clocks are this machine's. The first ten seconds do not count. Of the
rows of a table one in twenty is asked for, again and again until it is there.
Needs the packages confluent-kafka and, for tables, cassandra-driver.
"""
import argparse
import json
import multiprocessing
import os
import queue
import signal
import subprocess
import tempfile
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

BROKERS = os.environ.get("KAFKA_BROKERS", "127.0.0.1:9092")
CASSANDRA = os.environ.get("CASSANDRA", "127.0.0.1:9042")
PARTITIONS = 8
WARM_UP = 10.0

DATAFLOW = """
version = 1
name = "latency"
[job]
epoch = "{epoch}"
[kafka]
brokers = "{brokers}"
[sources.ticks]
type = "kafka"
topic = "{source}"
schema = {{ symbol = "text", timestamp = "timestamp_ms", price = "double", volume = "double", produced = "bigint" }}
time = "timestamp"
key = "symbol"
[operators.indicators]
type = "indicators"
input = "ticks"
emit = "all"
[operators.indicators.columns]
sma_5 = "sma(price, 5)"
sma_10 = "sma(price, 10)"
rsi_14 = "rsi(price, 14)"
macd = "macd(price, 12, 26, 9)"
[sinks.out]
input = "indicators"
"""

SINKS = {
    "kafka": """
type = "kafka"
topic = "{sink}"
guarantee = "{guarantee}"
""",
    "cassandra": """
type = "cassandra"
contact_points = "{cassandra}"
keyspace = "latency"
create = true
table = "{sink}"
partition_key = "symbol"
clustering_key = ["timestamp", "seq"]
""",
}


def read_table(table, found, stop, asked):
    """Asks for rows until they are there; collects (produced, found) in microseconds."""
    from cassandra.cluster import Cluster

    host, port = CASSANDRA.split(":")
    session = Cluster([host], port=int(port)).connect()
    pairs, statement = [], None
    while not stop.is_set():
        try:
            symbol, timestamp, produced = asked.get(timeout=0.1)
        except queue.Empty:
            continue
        while statement is None and not stop.is_set():
            try:
                statement = session.prepare(
                    f'SELECT produced FROM latency."{table}" WHERE symbol = ? AND timestamp = ?')
            except Exception:  # the table is not there yet
                time.sleep(0.2)
        while not stop.is_set():
            row = session.execute(statement, (symbol, timestamp)).one()
            if row is not None:
                pairs.append((produced, time.time_ns() // 1000))
                break
            time.sleep(0.0005)
    found.put(pairs)


def read_topic(topic, found, stop):
    """Collects (produced, read) in microseconds."""
    consumer = Consumer({"bootstrap.servers": BROKERS, "group.id": topic, "enable.auto.commit": False,
                         "fetch.wait.max.ms": 10})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    pairs = []
    while not stop.is_set():
        message = consumer.poll(0.1)
        if message is not None:
            now = time.time_ns() // 1000
            if not message.error():
                pairs.append((json.loads(message.value())["produced"], now))
    found.put(pairs)
    consumer.close()


def produce(topic, rate, seconds, job, asked):
    producer = Producer({"bootstrap.servers": BROKERS, "linger.ms": 0})
    began, sent = time.time(), 0
    while time.time() < began + WARM_UP + seconds:
        if job.poll() is not None:
            raise SystemExit(f"the job has ended: {job.returncode}")
        while sent < (time.time() - began) * rate:
            symbol = f"SYM{sent % 1000:04d}"
            now, timestamp = time.time_ns() // 1000, 1_700_000_000_000 + sent
            value = '{"symbol":"%s","timestamp":%d,"price":%.4f,"volume":%d,"produced":%d}' % (
                symbol, timestamp, 100 + (sent * 7919 % 997) / 100, sent % 5000, now)
            producer.produce(topic, value, symbol)
            if asked is not None and sent % 20 == 0:
                asked.put((symbol, timestamp, now))
            sent += 1
        producer.poll(0)
        time.sleep(0.0005)
    producer.flush(10)
    return began + WARM_UP, sent


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--to", choices=sorted(SINKS), default="kafka")
    arguments.add_argument("--rate", type=int, default=1000)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--guarantee", default="at_least_once", choices=["at_least_once", "exactly_once"])
    arguments.add_argument("--epoch", default="100ms")
    arguments.add_argument("--bin", default="target/release/tapeflow")
    options = arguments.parse_args()
    source, sink = (f"latency_{side}_{os.getpid()}" for side in ("in", "out"))
    admin = AdminClient({"bootstrap.servers": BROKERS})
    for made in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in (source, sink)]).values():
        made.result(30)
    found, stop = multiprocessing.Queue(), multiprocessing.Event()
    asked = multiprocessing.Queue() if options.to == "cassandra" else None
    reader = multiprocessing.Process(target=read_topic, args=(sink, found, stop))
    if asked is not None:
        reader = multiprocessing.Process(target=read_table, args=(sink, found, stop, asked))
    reader.start()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        names = {"source": source, "sink": sink, "guarantee": options.guarantee, "cassandra": CASSANDRA,
                 "epoch": options.epoch}
        file.write((DATAFLOW + SINKS[options.to]).format(brokers=BROKERS, **names))
        file.flush()
        job = subprocess.Popen([options.bin, "run", "--quiet", file.name, "--workers", str(options.workers)])
        try:
            counted_from, sent = produce(source, options.rate, options.seconds, job, asked)
            time.sleep(1)
        finally:
            job.send_signal(signal.SIGINT)
            job.wait(10)
            stop.set()
    pairs = found.get()
    reader.join()
    waits = sorted((got - made) / 1000 for made, got in pairs if made >= counted_from * 1e6)
    if not waits:
        raise SystemExit("nothing came back")
    at = lambda share: round(waits[min(len(waits) - 1, int(len(waits) * share))], 2)  # noqa: E731
    print(json.dumps({"to": options.to, "workers": options.workers, "rate": options.rate, "guarantee": options.guarantee,
                      "epoch": options.epoch, "sent": sent, "back": len(pairs),
                      "p50_ms": at(.5), "p90_ms": at(.9), "p99_ms": at(.99), "max_ms": round(waits[-1], 2)}))
    admin.delete_topics([source, sink])


main()
