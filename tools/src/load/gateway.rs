//! The gateway under test as a process: started, watched from outside, ended.

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// How long a gateway may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(30);
/// What the gateway prints in front of its address once it serves.
const SERVES: &str = "listening on http://";

/// A started gateway; killed when dropped.
#[derive(Debug)]
pub struct Gateway {
    process: Child,
    announced: Receiver<SocketAddr>,
    port: Option<SocketAddr>,
}

impl Gateway {
    /// Runs `command` in a shell with `{kite}` and `{ws}` replaced by ports; `{ws}` is one that is free now.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &str, kite_port: u16) -> io::Result<Self> {
        let mut command = command.replace("{kite}", &kite_port.to_string());
        let mut port = None;
        if command.contains("{ws}") {
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            command = command.replace("{ws}", &address.port().to_string());
            port = Some(address);
        }
        let mut shell = Command::new("sh");
        // `exec`, so that the process we measure and end is the gateway and not the shell.
        shell.args(["-c", &format!("exec {command}")]).stdin(Stdio::null()).stdout(Stdio::piped());
        for name in ["KITE_API_KEY", "KITE_ACCESS_TOKEN"] {
            if std::env::var_os(name).is_none() {
                shell.env(name, "fan-load");
            }
        }
        let mut process = shell.spawn()?;
        let (tell, announced) = mpsc::channel();
        if let Some(output) = process.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    eprintln!("gateway: {line}");
                    if let Some(address) = line.split_once(SERVES).and_then(|(_, rest)| rest.trim().parse().ok()) {
                        let _ = tell.send(address);
                    }
                }
            });
        }
        Ok(Self { process, announced, port })
    }

    /// Waits until it serves and returns where: the address it printed, or the port it was given.
    ///
    /// # Errors
    /// When it ended, or took longer than half a minute.
    pub fn address(&mut self) -> io::Result<SocketAddr> {
        let step = Duration::from_millis(50);
        for _ in 0..START_LIMIT.as_millis() / step.as_millis() {
            if let Some(status) = self.process.try_wait()? {
                return Err(io::Error::other(format!("the gateway ended at once: {status}")));
            }
            if let Ok(address) = self.announced.recv_timeout(step) {
                return Ok(address);
            }
            if let Some(address) = self.port
                && std::net::TcpStream::connect(address).is_ok()
            {
                return Ok(address);
            }
            thread::sleep(step);
        }
        Err(io::Error::other("the gateway does not serve"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a process uses, as `/proc` tells.
#[derive(Clone, Copy, Default, Debug)]
pub struct Usage {
    /// Resident memory now, KiB.
    pub rss_kib: u64,
    /// Most resident memory ever, KiB.
    pub peak_kib: u64,
    /// Processor time so far, milliseconds, in steps of 10.
    pub cpu_ms: u64,
}

/// What process `pid` uses now; zeros when it is gone.
pub fn usage(pid: u32) -> Usage {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let status = read("status");
    let kib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    // The command's name stands in brackets and may hold spaces; utime and stime are fields 14 and 15 of the line.
    let stat = read("stat");
    let times = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11).take(2);
    let ticks: u64 = times.filter_map(|time| time.parse::<u64>().ok()).sum();
    Usage { rss_kib: kib("VmRSS:"), peak_kib: kib("VmHWM:"), cpu_ms: ticks * 10 }
}

/// Memory of process `pid` that it has written and that has no file behind it, KiB.
///
/// # Errors
/// When the process is gone, or the system does not tell.
pub fn anonymous_kib(pid: u32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.ok_or_else(|| io::Error::other("smaps_rollup has no line Anonymous"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory() {
        let usage = usage(std::process::id());
        assert!(usage.rss_kib > 0 && usage.peak_kib >= usage.rss_kib);
        assert!(anonymous_kib(std::process::id()).unwrap() > 0);
    }

    #[test]
    fn a_gateway_that_ends_is_noticed() {
        let error = Gateway::start("false", 1).unwrap().address().unwrap_err();
        assert!(error.to_string().contains("ended at once"), "{error}");
    }

    #[test]
    fn the_printed_address_is_found() {
        let mut gateway = Gateway::start("sh -c 'echo listening on http://127.0.0.1:4567; sleep 5'", 1).unwrap();
        assert_eq!(gateway.address().unwrap().port(), 4567);
    }
}
