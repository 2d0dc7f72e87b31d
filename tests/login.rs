//! `tickfan login` against a stand-in for Kite's REST interface.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread::JoinHandle;

use rustix::process::Signal;
use support::kite_server::KiteServer;
use support::program::{Program, program};

/// Answers one request; gives its head and body.
fn rest(answer: &'static str) -> (String, JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let root = format!("http://{}/api", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(tcp.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head += &line;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        tcp.write_all(answer.as_bytes()).unwrap();
        (head, String::from_utf8(body).unwrap())
    });
    (root, thread)
}

fn login(root: &str, output: &Path, request_token: Option<&str>, input: &str) -> Output {
    let mut command = program();
    command.args(["login", "--root", root, "--output"]).arg(output).args(request_token);
    command.env("KITE_API_KEY", "thekey").env("KITE_API_SECRET", "s3cret");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// A gateway that reads its credentials from that file.
fn gateway(server: &KiteServer, credentials: &Path) -> Program {
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--data-dir", "none", "--feed", "kite", "--kite-root", &server.root()]);
    command.arg("--kite-credentials-file").arg(credentials).stderr(Stdio::piped());
    Program::start(&mut command)
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\
    {\"status\":\"success\",\"data\":{\"user_id\":\"AB1234\",\"access_token\":\"fresht0ken\"}}";
const BAD: &str = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n\
    {\"status\":\"error\",\"message\":\"Token is invalid: s3cret once\",\"error_type\":\"TokenException\"}";

fn said(output: &Output) -> String {
    let said = [&*output.stdout, &*output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(!said.contains("s3cret") && !said.contains("fresht0ken"), "{said}");
    said
}

#[test]
fn a_request_token_becomes_a_file_that_the_gateway_reads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kite.toml");
    let (root, kite) = rest(GOOD);
    let output = login(&root, &path, Some("once"), "");
    assert!(output.status.success(), "{}", said(&output));
    let (head, body) = kite.join().unwrap();
    assert!(head.starts_with("POST /api/session/token HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("x-kite-version: 3\r\n"), "{head}");
    // printf thekeyonces3cret | sha256sum
    assert_eq!(
        body,
        "api_key=thekey&request_token=once&checksum=308cc31ddc736bcb54f0fafcc2d346ef007fc6e4b932f5ec20d2da2f7a8349de"
    );
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // What was written is what a gateway connects with.
    assert!(said(&output).contains("kite.toml: written"));
    let server = KiteServer::start();
    let _gateway = gateway(&server, &path);
    let call = support::eventually("the gateway connects", || server.call());
    assert!(call.head.contains("api_key=thekey&access_token=fresht0ken "), "{}", call.head);
}

#[test]
fn the_address_the_browser_was_sent_to_may_be_pasted() {
    let directory = tempfile::tempdir().unwrap();
    let (root, kite) = rest(GOOD);
    let pasted = "https://app.example/?action=login&request_token=once&status=success\n";
    let output = login(&root, &directory.path().join("kite.toml"), None, pasted);
    assert!(output.status.success());
    assert!(said(&output).contains("https://kite.zerodha.com/connect/login?v=3&api_key=thekey"));
    assert!(kite.join().unwrap().1.contains("request_token=once&"));
}

#[test]
fn a_refusal_is_told_without_secrets_and_leaves_the_old_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kite.toml");
    std::fs::write(&path, "old").unwrap();
    let (root, kite) = rest(BAD);
    let output = login(&root, &path, Some("once"), "");
    kite.join().unwrap();
    assert!(!output.status.success());
    let said = said(&output);
    assert!(said.contains("Token is invalid: *** ***") && said.contains("log in again"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
}

#[test]
fn sighup_reads_the_token_again_without_ending_the_program() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kite.toml");
    let write = |token: &str| std::fs::write(&path, format!("api_key = \"k\"\naccess_token = \"{token}\"\n")).unwrap();
    write("yesterday");
    let server = KiteServer::start();
    server.expire("yesterday");
    let mut gateway = gateway(&server, &path);
    let mut log = gateway.log();
    let mut until =
        |text: &str| log.by_ref().map(Result::unwrap).find(|line| line.contains(text)).expect("it is logged");
    let refused = until("Kite refuses the access token");
    assert!(refused.contains("its time ends in") && refused.contains("tickfan login"), "{refused}");
    write("today");
    gateway.signal(Signal::HUP);
    until("credentials are read again");
    support::eventually("the new token connects", || server.call().filter(|call| call.head.contains("=today ")));
}
