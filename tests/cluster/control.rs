//! The control plane: who is answered, and what.

use super::{endless, market};
use crate::support::cluster::{Cluster, Process, TOKEN, ask, free_port, run, tapeflow, wait_until};

#[test]
fn only_who_has_the_token_is_answered() {
    let cluster = Cluster::start(2, 1);
    let port = cluster.http[1];
    let get = |path: &str, header: &str| {
        ask(port, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}"), "").expect("an answer")
    };
    assert_eq!(get("/healthz", ""), (200, get("/healthz", "").1, "ok\n".to_string()));
    let paths = [
        "/metrics",
        "/version",
        "/api/v1/jobs",
        "/api/v1/jobs/x",
        "/api/v1/jobs/x/nodes/y/tap",
        "/internal/v1/jobs",
        "/nothing",
    ];
    for path in paths {
        for header in ["", "Authorization: Bearer another-token-0123456789\r\n", "Authorization: Basic YTpi\r\n"] {
            let (status, head, body) = get(path, header);
            assert_eq!(status, 401, "{path}");
            assert!(
                head.contains("content-type: application/problem+json") && head.contains("www-authenticate: bearer")
            );
            let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!((&problem["status"], &problem["title"]), (&401.into(), &"Unauthorized".into()));
            assert!(!body.contains(TOKEN));
        }
    }
    // Whether it is ready is told to anybody, why not is not.
    assert_eq!(get("/readyz", "").2, "{\"ready\":true}");
    assert_eq!(cluster.get(1, "/readyz")["reasons"], serde_json::json!([]));
    let mut stranger = cluster.command();
    stranger.env("TAPEFLOW_TOKEN", "another-token-0123456789").args(["list", "--at", &format!("127.0.0.1:{port}")]);
    assert!(run(stranger).with(4).err.contains("token"));
    let mut nobody = cluster.command();
    nobody.args(["list", "--at", "127.0.0.1:1"]);
    assert!(run(nobody).with(4).err.contains("cannot reach 127.0.0.1:1"));
}

#[test]
fn a_process_says_whether_it_is_ready() {
    let mut cluster = Cluster::plan(2, 1);
    cluster.launch(0);
    wait_until("it answers", || cluster.status(0, "/healthz") == 200);
    let (status, _, body) = cluster.ask(0, "GET /readyz", "");
    assert_eq!(status, 503);
    assert!(body.contains("\"check\":\"cluster\"") && body.contains("not all processes are connected"), "{body}");
    cluster.file("m.toml", &market("m", 1, "type = \"discard\""));
    assert!(cluster.cli(0, &["submit", "m.toml"]).with(4).err.contains("not complete"));
    cluster.launch(1);
    cluster.wait_ready();
    let version = cluster.get(1, "/version");
    assert_eq!((&version["process"], &version["processes"], &version["workers"]), (&1.into(), &2.into(), &1.into()));
    assert!(
        version["build"].as_str().is_some_and(|build| build.starts_with(version["version"].as_str().unwrap_or("?")))
    );
    cluster.process(1).signal("STOP");
    // One that stands still is told, and does not keep the other from answering.
    let listed = cluster.cli(0, &["list"]).with(0);
    assert!(listed.err.contains("process 1 did not answer"), "{}", listed.err);
    cluster.process(1).signal("CONT");
}

#[test]
fn what_a_job_does_and_counts_is_told() {
    let cluster = Cluster::start(2, 1);
    cluster.file("m.toml", &market("m", 20, "type = \"discard\""));
    cluster.cli(0, &["submit", "m.toml", "--wait"]).with(0);
    let job = cluster.get(1, "/api/v1/jobs/m");
    let rows = job["rows_in"].as_u64().expect("rows");
    let counted = |index: usize| {
        let (status, head, text) = cluster.ask(index, "GET /metrics", "");
        assert!(status == 200 && head.contains("content-type: text/plain; version=0.0.4"));
        assert!(text.contains("tapeflow_build_info{"), "{text}");
        let line = format!("tapeflow_records_out_total{{job=\"m\",operator=\"ticks\",worker=\"{index}\"}} ");
        let line = text.lines().find_map(|text| text.strip_prefix(&line)).expect("its worker has counted");
        line.parse::<u64>().expect("a number")
    };
    assert_eq!(counted(0) + counted(1), rows);
    let nodes: Vec<_> = job["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| (node["name"].as_str(), node["role"].as_str()))
        .collect();
    assert_eq!(
        nodes,
        [(Some("ticks"), Some("source")), (Some("means"), Some("operator")), (Some("out"), Some("sink"))]
    );
    let (means, out) = (&job["nodes"][1], &job["nodes"][2]);
    assert_eq!(means["rows_in"], rows);
    assert_eq!(means["rows_out"].as_u64().expect("rows") + means["held_back"].as_u64().expect("rows"), rows);
    assert_eq!((&out["rows_in"], &out["rows_out"]), (&means["rows_out"], &job["rows_out"]));
    let shown = cluster.cli(0, &["status", "m"]).with(0).out;
    assert!(shown.contains("m: done") && shown.contains("held back") && shown.contains("means"), "{shown}");
    let graph = cluster.get(0, "/api/v1/jobs/m/graph");
    assert_eq!(graph["nodes"][1]["inputs"][0], "ticks");
    let (_, head, mermaid) = cluster.ask(0, "GET /api/v1/jobs/m/graph?format=mermaid", "");
    assert!(head.contains("text/plain") && mermaid.starts_with("flowchart LR"));
    assert_eq!(cluster.status(0, "/api/v1/jobs/m/graph?format=png"), 400);
    // A job that runs again counts anew.
    cluster.cli(1, &["submit", "m.toml", "--wait"]).with(0);
    assert_eq!(cluster.get(0, "/api/v1/jobs/m")["rows_in"], rows);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let cluster = Cluster::start(1, 1);
    for (request, status) in [
        ("GET /nothing", 404),
        ("GET /api/v1/jobs/none", 404),
        ("DELETE /api/v1/jobs/none", 404),
        ("PUT /api/v1/jobs", 405),
        ("DELETE /healthz", 405),
        ("POST /api/v1/jobs", 415),
        ("GET /internal/v1/jobs", 503),
    ] {
        assert_eq!(cluster.ask(0, request, "").0, status, "{request}");
    }
    let post = |body: &str| {
        let head = "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        ask(cluster.http[0], &format!("{head}Authorization: Bearer {TOKEN}\r\n"), body)
    };
    assert_eq!(post("{").expect("an answer").0, 400);
    assert_eq!(post("{\"path\": \"\", \"text\": \"\", \"base\": \"\", \"mood\": 1}").expect("an answer").0, 400);
    let (status, _, body) =
        post("{\"path\": \"a.toml\", \"text\": \"version = 2\", \"base\": \"\"}").expect("an answer");
    let problem: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &problem["exit_code"], &problem["mistakes"][0]["path"]), (422, &3.into(), &"a.toml".into()));
    // The answer may come before all is sent, and the connection with it.
    let long = post(&" ".repeat(9 << 20));
    assert!(long.is_err() || long.is_ok_and(|(status, _, _)| status == 413));
    assert_eq!(cluster.status(0, "/healthz"), 200);
}

#[test]
fn without_a_token_only_this_machine_is_answered() {
    let mut cluster = Cluster::plan(2, 1);
    cluster.token = None;
    (0..2).for_each(|index| cluster.launch(index));
    cluster.wait_ready();
    cluster.file("live.toml", &endless("live", 50));
    cluster.cli(0, &["submit", "live.toml"]).with(0);
    let as_host = |host: &str| {
        ask(cluster.http[0], &format!("GET /version HTTP/1.1\r\nHost: {host}\r\n"), "").expect("an answer").0
    };
    assert_eq!((as_host("localhost:1"), as_host("evil.example")), (200, 403));
}

#[test]
fn a_local_run_shows_how_it_is_doing() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("live.toml"), endless("live", 200)).expect("written");
    let port = free_port();
    let mut command = tapeflow(folder.path());
    command.args(["run", "live.toml", "--http", &format!("127.0.0.1:{port}")]);
    let mut local = Process::spawn(command, folder.path().join("log"));
    let get = |path: &str| ask(port, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n"), "").unwrap_or_default();
    wait_until("it answers", || get("/readyz").0 == 200);
    wait_until("rows are counted", || {
        get("/api/v1/jobs/live").2.contains("\"state\":\"running\"")
            && !get("/api/v1/jobs/live").2.contains("\"rows_in\":0,\"rows_out\":0,\"nodes\"")
    });
    assert!(get("/metrics").2.contains("tapeflow_records_out_total{job=\"live\""));
    assert!(get("/api/v1/jobs/live/nodes/means/tap?limit=3").2.matches("sma_5").count() == 3);
    let head = "HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    assert_eq!(ask(port, &format!("DELETE /api/v1/jobs/live {head}"), "").expect("an answer").0, 409);
    let submission = "{\"path\": \"a\", \"text\": \"\", \"base\": \"\"}";
    assert_eq!(ask(port, &format!("POST /api/v1/jobs {head}"), submission).expect("an answer").0, 503);
    local.signal("INT");
    assert_eq!(local.ended(), 0);
}
