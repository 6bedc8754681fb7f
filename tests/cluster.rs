//! Clusters of real processes on this machine.

mod control;
mod endings;
mod generations;
mod hostile;
mod jobs;
mod stalls;
mod strangers;
mod tls;
pub mod up;

/// A market of `seconds` of event time, as fast as it goes, through indicators into `sink`.
fn market(name: &str, seconds: u32, sink: &str) -> String {
    format!(
        r#"
        version = 1
        name = "{name}"
        [sources.ticks]
        type = "generator"
        symbols = 20
        rate = 1000
        duration = "{seconds}s"
        speed = "max"
        [operators.means]
        type = "indicators"
        input = "ticks"
        columns = {{ sma_5 = "sma(price, 5)", rsi_14 = "rsi(price, 14)" }}
        [sinks.out]
        input = "means"
        {sink}
        "#
    )
}

/// A market without an end, at the pace of the clock.
pub fn endless(name: &str, rate: u32) -> String {
    let sink = format!("type = \"file\"\npath = \"{name}.jsonl\"");
    let text = market(name, 1, &sink).replace("duration = \"1s\"", "").replace("speed = \"max\"", "");
    text.replace("rate = 1000", &format!("rate = {rate}"))
}
