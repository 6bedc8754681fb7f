"""Latency from topic to topic: how long after a message was produced its row can be read.

    KAFKA_BROKERS=127.0.0.1:9092 python benches/latency.py [--rate 1000] [--seconds 30] [--workers 2] [--bin PATH]
        [--guarantee exactly_once] [--epoch 10ms]

Messages of 1000 symbols are produced with linger 0, carry the time they were produced, go through the four
indicators of the README and come back; both clocks are this machine's. The first ten seconds do not count.
Needs the package confluent-kafka.
"""
import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import tempfile
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

BROKERS = os.environ.get("KAFKA_BROKERS", "127.0.0.1:9092")
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
type = "kafka"
input = "indicators"
topic = "{sink}"
guarantee = "{guarantee}"
"""


def read(topic, found, stop):
    """Collects (produced, read) in microseconds."""
    consumer = Consumer({"bootstrap.servers": BROKERS, "group.id": topic, "enable.auto.commit": False,
                         "fetch.wait.max.ms": 10})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    pairs = []
    while not stop.is_set():
        for message in consumer.consume(100, 0.0005) or ():
            now = time.time_ns() // 1000
            if not message.error():
                pairs.append((json.loads(message.value())["produced"], now))
    found.put(pairs)
    consumer.close()


def produce(topic, rate, seconds, job):
    producer = Producer({"bootstrap.servers": BROKERS, "linger.ms": 0})
    began, sent = time.time(), 0
    while time.time() < began + WARM_UP + seconds:
        if job.poll() is not None:
            raise SystemExit(f"the job has ended: {job.returncode}")
        while sent < (time.time() - began) * rate:
            symbol = f"SYM{sent % 1000:04d}"
            value = '{"symbol":"%s","timestamp":%d,"price":%.4f,"volume":%d,"produced":%d}' % (
                symbol, 1_700_000_000_000 + sent, 100 + (sent * 7919 % 997) / 100, sent % 5000, time.time_ns() // 1000)
            producer.produce(topic, value, symbol)
            sent += 1
        producer.poll(0)
        time.sleep(0.0005)
    producer.flush(10)
    return began + WARM_UP, sent


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rate", type=int, default=1000)
    arguments.add_argument("--seconds", type=float, default=30)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--guarantee", default="at_least_once", choices=["at_least_once", "exactly_once"])
    arguments.add_argument("--epoch", default="100ms")
    arguments.add_argument("--bin", default="target/release/tapeflow")
    options = arguments.parse_args()
    source, sink = (f"latency-{side}-{os.getpid()}" for side in ("in", "out"))
    admin = AdminClient({"bootstrap.servers": BROKERS})
    for made in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in (source, sink)]).values():
        made.result(30)
    found, stop = multiprocessing.Queue(), multiprocessing.Event()
    reader = multiprocessing.Process(target=read, args=(sink, found, stop))
    reader.start()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(DATAFLOW.format(brokers=BROKERS, source=source, sink=sink, epoch=options.epoch,
                                   guarantee=options.guarantee))
        file.flush()
        job = subprocess.Popen([options.bin, "run", "--quiet", file.name, "--workers", str(options.workers)])
        try:
            counted_from, sent = produce(source, options.rate, options.seconds, job)
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
    print(json.dumps({"workers": options.workers, "rate": options.rate, "guarantee": options.guarantee,
                      "epoch": options.epoch, "sent": sent, "back": len(pairs),
                      "p50_ms": at(.5), "p90_ms": at(.9), "p99_ms": at(.99), "max_ms": round(waits[-1], 2)}))
    admin.delete_topics([source, sink])


main()
