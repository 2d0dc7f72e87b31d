//! The program as a process: it drains, and keeps descriptors for operators.

use std::net::TcpStream;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::{Client, get};
use crate::support::eventually_true;
use crate::support::program::{Program, program};
use crate::support::ticks::INFY;

/// The program, from a shell that may prepare it.
fn run(prepare: &str, flags: &[&str]) -> Program {
    let program = program();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{prepare} exec \"$0\" \"$@\"")).arg(program.get_program());
    shell.args(["--listen", "127.0.0.1:0", "--log", "warn"]).args(flags).env_clear();
    Program::start(&mut shell)
}

#[test]
fn the_program_drains_on_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut program = run("", &[]);
        let mut tab = Client::connect(program.address);
        tab.subscribe(&[INFY], json!({}));
        program.signal(signal);
        let (code, reason) = tab.until_closed();
        assert!(code == 1_001 && reason.starts_with("server is going away; retry after "), "{code} {reason}");
        assert_eq!(program.until_ended(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut program =
        run("", &["--drain-s", "3600", "--slow-after-s", "0", "--send-buffer-bytes", "4096", "--market-rate", "20000"]);
    // Frozen tabs, so many that it takes a while to let them go.
    let _tabs: Vec<_> = (0..200).map(|_| Client::connect(program.address)).collect();
    let mut last = Client::connect(program.address);
    last.subscribe(&[INFY], json!({}));
    program.signal(Signal::TERM);
    eventually_true("nobody is let in", || TcpStream::connect(program.address).is_err());
    program.signal(Signal::TERM);
    let code = program.until_ended();
    // It may have been quicker than the second signal.
    assert!(matches!(code, Some(130 | 0)), "{code:?}");
}

#[test]
fn row_31_with_few_descriptors_operators_still_get_in() {
    let mut program = run("ulimit -n 256;", &["--admin-listen", "127.0.0.1:0"]);
    let admin = program.admin_address.unwrap();
    let mut tabs = Vec::new();
    let mut refused = 0;
    while refused < 20 {
        match Client::try_connect(program.address) {
            Some(tab) => tabs.push(tab),
            None => refused += 1,
        }
        assert!(tabs.len() < 256, "there are no more descriptors than that");
    }
    assert!(tabs.len() > 150, "{}", tabs.len());
    let metrics = get(admin, "/metrics");
    assert_eq!(metrics.status, 200);
    let value = |name: &str| -> u64 {
        let line = metrics.body.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    assert!(value("tickfan_edge_shed_total ") >= 20);
    assert_eq!(value("tickfan_edge_accept_errors_total "), 0);
    // Those who are in are served, and when they go others can come.
    let mut first = tabs.remove(0);
    first.subscribe(&[INFY], json!({}));
    tabs.truncate(10);
    eventually_true("there is room again", || Client::try_connect(program.address).is_some());
    program.signal(Signal::TERM);
    assert_eq!(program.until_ended(), Some(0));
}
