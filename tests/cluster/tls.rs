//! Certificates: both sides of the mesh show one, and the control plane is only spoken to in secret.

use std::process::Command;

use super::market;
use crate::support::cluster::{Cluster, Process, TOKEN, ask, free_port, run, tapeflow, wait_until};

/// A cluster of which every process has the certificate `worker`, and that knows nobody else's authority.
fn plan(processes: usize) -> Cluster {
    let cluster = Cluster::plan(processes, 2);
    make(&cluster, "certs", &[]);
    make(&cluster, "certs", &["--name", "looker", "--reader"]);
    make(&cluster, "others", &[]);
    cluster.file(
        "tapeflow.toml",
        "tls = { ca = \"certs/ca.pem\", cert = \"certs/worker.pem\", key = \"certs/worker.key\" }\n",
    );
    cluster
}

fn make(cluster: &Cluster, folder: &str, args: &[&str]) {
    let mut command = tapeflow(cluster.folder.path());
    command.args(["certs", "--folder", folder]).args(args);
    run(command).with(0);
}

/// The command line that believes the authority of `ca` and shows the certificate `own`, and no token.
fn client(cluster: &Cluster, ca: &str, own: Option<&str>, args: &[&str]) -> Command {
    // In a folder without settings.
    let elsewhere = cluster.folder.path().join("elsewhere");
    std::fs::create_dir_all(&elsewhere).expect("a folder");
    let mut command = tapeflow(&elsewhere);
    command.args(args).args(["--at", &format!("127.0.0.1:{}", cluster.http[0]), "--ca", &format!("../{ca}/ca.pem")]);
    if let Some(own) = own {
        command.args(["--cert", &format!("../{own}.pem"), "--key", &format!("../{own}.key")]);
    }
    command
}

/// All processes answer, and have found each other.
fn wait_ready(cluster: &Cluster) {
    for index in 0..cluster.processes.len() {
        wait_until("the cluster is complete", || {
            cluster.processes[index].as_ref().is_some_and(|process| process.log().contains("the cluster is complete"))
        });
    }
}

#[test]
fn a_cluster_with_certificates_works_and_ends_as_any_other() {
    let mut cluster = plan(3);
    cluster.restart = true;
    (0..3).for_each(|index| cluster.launch(index));
    wait_ready(&cluster);
    let sink = "type = \"file\"\npath = \"m.jsonl\"";
    cluster.file("m.toml", &market("m", 20, sink));
    let mut command = tapeflow(cluster.folder.path());
    command.args(["run", "m.toml", "--workers", "1", "--quiet"]);
    run(command).with(0);
    let expected = cluster.read("m.jsonl");
    std::fs::remove_file(cluster.folder.path().join("m.jsonl")).expect("removed");
    cluster.cli(2, &["submit", "m.toml", "--wait", "--timeout", "50s"]).with(0);
    assert!(cluster.read("m.jsonl") == expected, "the rows differ");
    cluster.process(1).signal("KILL");
    cluster.process(1).ended();
    wait_until("it is missed", || cluster.process(0).log().contains("has ended: process 1 was lost"));
    cluster.launch(1);
    wait_until("it comes back", || cluster.process(0).log().contains("complete: generation 2"));
    cluster.file("m.toml", &market("again", 5, sink));
    wait_until("all are ready", || cluster.cli(1, &["submit", "m.toml", "--wait", "--timeout", "50s"]).code == 0);
    cluster.process(2).signal("TERM");
    for index in 0..3 {
        let process = cluster.process(index);
        assert_eq!(process.ended(), 0, "{}", process.log());
    }
}

#[test]
fn who_has_no_certificate_of_the_authority_gets_nowhere() {
    let mut cluster = plan(2);
    cluster.launch(0);
    wait_until("it listens", || ask(cluster.http[0], "GET /healthz HTTP/1.1\r\nHost: x\r\n", "").is_ok());
    // The right token and another's certificate.
    let others = cluster.file(
        "others/tapeflow.toml",
        "tls = { ca = \"../certs/ca.pem\", cert = \"worker.pem\", key = \"worker.key\" }\n",
    );
    for settings in [others.as_path(), cluster.file("plain.toml", "").as_path()] {
        let mut command = cluster.worker(1);
        command.env("TAPEFLOW_JOIN_TIMEOUT", "1s").arg("--config").arg(settings);
        let mut stranger = Process::spawn(command, cluster.folder.path().join(format!("log-{}", free_port())));
        assert_eq!(stranger.ended(), 4, "{}", stranger.log());
    }
    assert!(cluster.process(0).log().contains("the mesh refused a connection from"), "{}", cluster.process(0).log());
    assert!(cluster.process(0).log().contains("TLS: "), "{}", cluster.process(0).log());
    cluster.launch(1);
    wait_ready(&cluster);
    // Nothing is said without TLS, and nothing to who believes another authority.
    let head = format!("GET /version HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n");
    assert!(!ask(cluster.http[0], &head, "").unwrap_or_default().1.starts_with("http"));
    let with_token = |ca: &str| {
        let mut command = client(&cluster, ca, None, &["list"]);
        command.env("TAPEFLOW_TOKEN", TOKEN);
        run(command)
    };
    with_token("certs").with(0);
    assert!(with_token("others").with(4).err.contains("cannot reach"));
    run(client(&cluster, "certs", Some("others/worker"), &["list"])).with(4);
}

#[test]
fn a_token_or_a_certificate_says_what_its_owner_may_do() {
    let looker = "a-token-to-look-with-0123456789";
    let mut cluster = plan(1);
    let mut command = cluster.worker(0);
    command.env("TAPEFLOW_READ_TOKEN", looker);
    cluster.processes[0] = Some(Process::spawn(command, cluster.folder.path().join("log-0")));
    wait_ready(&cluster);
    cluster.file("m.toml", &market("m", 5, "type = \"discard\""));
    let submit: &[&str] = &["submit", "../m.toml", "--wait"];
    let nobody = run(client(&cluster, "certs", None, &["list"])).with(4);
    assert!(nobody.err.contains("or a certificate"), "{}", nobody.err);
    let with_token = |args: &[&str]| {
        let mut command = client(&cluster, "certs", None, args);
        command.env("TAPEFLOW_TOKEN", looker);
        run(command)
    };
    let with_certificate = |args: &[&str]| run(client(&cluster, "certs", Some("certs/looker"), args));
    for refused in [with_token(submit), with_certificate(submit)] {
        assert!(refused.with(4).err.contains("for looking and no more"));
    }
    run(client(&cluster, "certs", Some("certs/worker"), submit)).with(0);
    for looked in [with_token(&["status", "m"]), with_certificate(&["status", "m"])] {
        assert!(looked.with(0).out.contains("m: done"));
    }
    assert!(with_certificate(&["stop", "m"]).with(4).err.contains("for looking and no more"));
}

#[test]
fn certificates_are_not_written_over_and_have_to_fit() {
    let cluster = plan(1);
    let mut again = tapeflow(cluster.folder.path());
    again.args(["certs", "--folder", "certs"]);
    assert!(run(again).with(2).err.contains("worker.key"));
    for (tls, reason) in [
        ("tls = { cert = \"certs/worker.pem\", key = \"certs/worker.key\" }", "needs `ca`"),
        ("tls = { ca = \"certs/ca.pem\", cert = \"certs/worker.pem\" }", "both `cert` and `key`"),
        ("tls = { ca = \"certs/ca.pem\" }", "`tls` needs `cert` and `key` where something listens"),
        ("tls = { ca = \"certs/ca.pem\", cert = \"certs/worker.pem\", key = \"others/worker.key\" }", "cannot be used"),
        ("tls = { ca = \"certs/none.pem\" }", "none.pem"),
        ("tls = { ca = \"certs/ca.pem\", kay = \"\" }", "did you mean `key`?"),
        ("tls = \"on\"", "expected a table"),
    ] {
        cluster.file("tapeflow.toml", tls);
        let said = run(cluster.worker(0)).with(2);
        assert!(said.err.contains(reason), "{tls}: {}", said.err);
    }
}
