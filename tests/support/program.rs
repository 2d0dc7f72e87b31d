//! The program itself, in a process of its own.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::client::get;
use super::keys::{SECRET, SESSION_KEY};
use super::{eventually, eventually_true};

/// The program with nothing in its environment that a machine may have set.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickfan"));
    command.env_clear();
    command
}

/// What stands for Kite, with so many ticks a second; outlives gateways that are killed.
pub fn stand_in(rate: u64) -> Program {
    Program::start(program().args(["market", "--listen=127.0.0.1:0", "--log=warn", &format!("--market-rate={rate}")]))
}

/// A gateway that has its ticks from that, and in a folder what must survive it; with further flags.
pub fn gateway(data_dir: &Path, upstream: &Program, more: &[String]) -> Program {
    let mut command = program();
    command.env("TICKFAN_JWT_SECRET", SECRET).env("TICKFAN_SESSION_KEY", SESSION_KEY);
    command.args(["--listen=127.0.0.1:0", "--log=warn", "--auth=required", "--calendar=around-the-clock"]);
    command.args(["--feed=kite", "--kite-api-key=k", "--kite-access-token=t"]);
    command.args([format!("--kite-root=ws://{}/", upstream.address), format!("--data-dir={}", data_dir.display())]);
    Program::start(command.args(more))
}

/// One that listens; killed when it is dropped.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
    /// Where operators' pages are, if on a listener of their own.
    pub admin_address: Option<SocketAddr>,
}

impl Program {
    /// Starts it, and returns once it has said where it listens.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = || {
            let line = lines.next().expect("it says where it listens").unwrap();
            let place = line.split_once("://").unwrap_or_else(|| panic!("{line}")).1;
            place.split(['/', ' ']).next().unwrap_or(place).parse().unwrap()
        };
        let listening = address();
        let admin_address = command.get_args().any(|arg| arg == "--admin-listen").then(&mut address);
        Self { child, address: listening, admin_address }
    }

    /// The lines it writes to stderr, which must be a pipe.
    pub fn log(&mut self) -> Lines<BufReader<ChildStderr>> {
        BufReader::new(self.child.stderr.take().unwrap()).lines()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until its store answers and has all sessions.
    #[track_caller]
    pub fn until_kept(&self) {
        eventually_true("all sessions are written", || {
            let sessions = get(self.address, "/health").json()["sessions"].clone();
            sessions["state"] == "ok" && sessions["unwritten"] == 0
        });
    }

    /// Its exit code, once it has ended.
    #[track_caller]
    pub fn until_ended(&mut self) -> Option<i32> {
        eventually("it has ended", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
