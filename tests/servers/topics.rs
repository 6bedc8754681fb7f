//! Topics for the tests, written and read by the bare client, and the program run on them.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::json;
use tempfile::TempDir;

/// No answer takes this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The server of the tests.
pub fn brokers() -> String {
    std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS names a broker: cluster/servers start, then `env`")
}

pub fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers());
    config
}

/// A topic of its own for a test.
pub struct Topic {
    pub name: String,
    pub partitions: i32,
}

/// A message that was read, or is to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    pub partition: i32,
    pub timestamp: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: HashMap<String, String>,
}

impl Written {
    pub fn new(partition: i32, key: &str, payload: impl Into<Vec<u8>>) -> Self {
        Written { partition, key: Some(key.into()), payload: Some(payload.into()), ..Written::default() }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.payload.clone().expect("a payload")).expect("text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text()).expect("JSON")
    }
}

/// A name that no other test has.
pub fn name(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::new_v4().simple())
}

impl Topic {
    /// Makes an empty topic.
    pub fn new(partitions: i32) -> Self {
        let name = name("test");
        let admin: AdminClient<DefaultClientContext> = config().create().expect("an admin client");
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = futures::executor::block_on(admin.create_topics([&topic], &options)).expect("an answer");
        made.into_iter().for_each(|topic| drop(topic.expect("a topic")));
        Topic { name, partitions }
    }

    /// A topic that something else makes.
    pub fn named(name: &str, partitions: i32) -> Self {
        Topic { name: name.to_string(), partitions }
    }

    /// Appends messages, in order.
    pub fn write(&self, messages: &[Written]) {
        let producer: BaseProducer = config().create().expect("a producer");
        self.send(&producer, messages);
        producer.flush(PATIENCE).expect("written");
    }

    /// Appends messages in a transaction, which leaves a marker behind them.
    pub fn write_transaction(&self, messages: &[Written], commit: bool) {
        let producer: BaseProducer = config().set("transactional.id", name("t")).create().expect("a producer");
        producer.init_transactions(PATIENCE).expect("initialised");
        producer.begin_transaction().expect("begun");
        self.send(&producer, messages);
        producer.flush(PATIENCE).expect("written");
        let ended = if commit { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) };
        ended.expect("ended");
    }

    fn send(&self, producer: &BaseProducer, messages: &[Written]) {
        for message in messages {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.name).partition(message.partition);
            (record.key, record.payload) = (message.key.as_deref(), message.payload.as_deref());
            record.timestamp = message.timestamp;
            producer.send(record).map_err(|(error, _)| error).expect("taken");
            producer.poll(Duration::ZERO);
        }
    }

    /// All messages, partition after partition.
    pub fn read(&self) -> Vec<Written> {
        let consumer: BaseConsumer =
            config().set("group.id", "test").set("enable.partition.eof", "true").create().expect("a consumer");
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions {
            all.add_partition_offset(&self.name, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&all).expect("assigned");
        let (mut read, mut ended, began) = (Vec::new(), HashSet::new(), Instant::now());
        while ended.len() < self.partitions as usize {
            match consumer.poll(Duration::from_secs(1)) {
                Some(Ok(message)) => read.push(owned(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
                Some(Err(error)) => panic!("{error}"),
                None => assert!(began.elapsed() < PATIENCE, "no answer"),
            }
        }
        read.sort_by_key(|message| message.partition);
        read
    }

    /// What `group` has committed, of each partition.
    pub fn committed(&self, group: &str) -> Vec<Option<i64>> {
        let consumer: BaseConsumer = config().set("group.id", group).create().expect("a consumer");
        let mut all = TopicPartitionList::new();
        all.add_partition_range(&self.name, 0, self.partitions - 1);
        let committed = consumer.committed_offsets(all, PATIENCE).expect("offsets");
        committed.elements().iter().map(|element| element.offset().to_raw().filter(|offset| *offset >= 0)).collect()
    }
}

fn owned(message: &impl Message) -> Written {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let text = |value: Option<&[u8]>| String::from_utf8(value.expect("a value").to_vec()).expect("text");
    Written {
        partition: message.partition(),
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|header| (header.key.to_string(), text(header.value))).collect(),
    }
}

/// A dataflow file in a folder of its own.
pub struct Flow {
    pub folder: TempDir,
    pub job: String,
}

impl Flow {
    /// `nodes` behind a header that names the job and the brokers.
    pub fn new(nodes: &str) -> Self {
        Flow::with(nodes, "")
    }

    /// Likewise, with `[job]` settings.
    pub fn with(nodes: &str, job: &str) -> Self {
        let (folder, name) = (TempDir::new().expect("a folder"), name("job"));
        let brokers = brokers();
        let header = format!("version = 1\nname = \"{name}\"\n[job]\n{job}\n[kafka]\nbrokers = \"{brokers}\"\n");
        std::fs::write(folder.path().join("flow.toml"), header + nodes).expect("a file");
        Flow { folder, job: name }
    }

    /// Runs it to its end; its output, whatever the exit code.
    pub fn try_run(&self, workers: usize) -> Output {
        tapeflow(self.folder.path(), &["run", "flow.toml", "--json", "--workers", &workers.to_string()])
    }

    /// Runs it to its end, which must be a good one; the totals it prints.
    pub fn run(&self, workers: usize) -> serde_json::Value {
        let output = self.try_run(workers);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// The rows of a file it has written.
    pub fn rows(&self, file: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.folder.path().join(file)).expect("a file");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// Runs the program.
pub fn tapeflow(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapeflow"));
    command.current_dir(folder).args(arguments).env("KAFKA_BROKERS", brokers());
    command.output().expect("the program runs")
}

/// What it has said on stderr.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Event time of the first tick, in ms.
pub const START: i64 = 1_700_000_000_000;

pub fn tick(symbol: &str, n: i64) -> String {
    json!({ "symbol": symbol, "timestamp": START + n, "price": n as f64 / 4.0, "volume": n % 7 }).to_string()
}

/// `count` ticks of `symbols` symbols in turn, each symbol in a partition of its own, as a producer would do it.
pub fn ticks(count: i64, symbols: i64, partitions: i64) -> Vec<Written> {
    let one = |n: i64| {
        let symbol = format!("S{}", n % symbols);
        Written::new((n % symbols % partitions) as i32, &symbol, tick(&symbol, n))
    };
    (0..count).map(one).collect()
}

pub fn source(topic: &str, more: &str) -> String {
    format!(
        "[sources.ticks]\ntype = \"kafka\"\ntopic = \"{topic}\"\ntime = \"timestamp\"\nkey = \"symbol\"\nstop = \"end\"\n\
         schema = {{ symbol = \"text\", timestamp = \"timestamp_ms\", price = \"double\", volume = \"int\" }}\n{more}\n"
    )
}

pub fn to_file(input: &str) -> String {
    format!("[sinks.out]\ntype = \"file\"\ninput = \"{input}\"\npath = \"out.jsonl\"\n")
}
