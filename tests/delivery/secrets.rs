//! What `${...}` stands for is told to servers and to nobody else: every option of these sinks that takes a text is
//! given a secret, and whatever the program says is searched for it.

use super::{folder, http, letters, smtp};
use crate::servers::secrets::texts;

/// It is a name that any server would take.
const SECRET: &str = "hidden_value_1234";
const ENVIRONMENT: &[(&str, &str)] = &[("HIDDEN", SECRET), ("RUST_LOG", "debug")];

#[test]
fn no_option_of_webhook_or_email_is_shown_expanded() {
    let web = http::Server::start(|_, _| http::Answer::Say(400, String::new(), SECRET.to_string()));
    let mail = smtp::Server::start(smtp::Security::None, |_, verb| match verb {
        "RCPT" => smtp::Act::Say("550 not hidden_value_1234"),
        _ => smtp::Act::Right,
    });
    let webhook = [("url", format!("\"{}\"", web.url("x")))];
    let email = [("server", format!("\"127.0.0.1:{}\"", mail.port)), ("tls", "\"none\"".to_string())];
    let more = [("from", "\"me@example.com\"".to_string()), ("to", "\"you@example.com\"".to_string())];
    let nested = [
        ("webhook", "headers", "{ Authorization = \"Bearer ${HIDDEN}\" }"),
        ("webhook", "body", "{ text = \"{n} ${HIDDEN}\" }"),
        ("webhook", "select", "{ x = \"'${HIDDEN}'\", y = \"price / '${HIDDEN}'\" }"),
        ("webhook", "url", "\"http://${HIDDEN}.example/\""),
        ("email", "from", "\"${HIDDEN}@example.com\""),
        ("email", "to", "[\"${HIDDEN} <you@example.com>\"]"),
        ("email", "subject", "\"${HIDDEN} {n}\""),
        ("email", "text", "\"{${HIDDEN}}\""),
    ];
    let secret = |kind: &'static str| texts("sinks", kind).into_iter().map(move |key| (kind, key, "\"${HIDDEN}\""));
    let options = nested.into_iter().map(|(kind, key, value)| (kind, key.to_string(), value));
    let mut said = 0;
    for (kind, key, value) in options.chain(secret("webhook")).chain(secret("email")) {
        let given = if kind == "webhook" { webhook.to_vec() } else { [email.to_vec(), more.to_vec()].concat() };
        let others = given.iter().filter(|(other, _)| *other != key).map(|(key, value)| format!("{key} = {value}\n"));
        let pair = match key.as_str() {
            "user" => "password = \"p\"\n",
            "password" => "user = \"u\"\n",
            _ => "",
        };
        let others: String = others.collect();
        let sink =
            format!("type = \"{kind}\"\ninput = \"trades\"\ngive_up_after = \"1ms\"\n{others}{pair}{key} = {value}");
        let sink = if key == "give_up_after" { sink.replacen("give_up_after = \"1ms\"\n", "", 1) } else { sink };
        let folder = folder(1, &format!("[sinks.out]\n{sink}\n"));
        for command in [
            &["explain", "flow.toml"][..],
            &["explain", "flow.toml", "--format", "json"],
            &["validate", "--connect", "--json", "flow.toml"],
            &["run", "flow.toml"],
        ] {
            // Who has to mend a connection must see where it goes.
            if key == "server" && command[0] != "explain" {
                continue;
            }
            let ended = folder.tapeflow_with(command, ENVIRONMENT);
            let told = ended.stdout.clone() + &ended.stderr;
            assert!(!told.contains(SECRET), "{kind}, {key}, {command:?}: {told}");
            said += told.matches("${HIDDEN}").count();
        }
        let reasons = letters(&folder).iter().map(|letter| letter["reason"].to_string()).collect::<String>();
        assert!(!reasons.contains(SECRET), "{kind}, {key}: {reasons}");
    }
    assert!(said > 20, "references are shown in place of what they stand for: {said}");
}
