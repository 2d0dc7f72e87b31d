//! A real Redis server on a free port.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tickfan::gateway::SessionStore;
use tickfan::resume::vault::VaultSettings;
use tickfan::secret::Secret;

use super::keys::SESSION_KEY;
use super::{eventually, eventually_true};

pub struct RedisServer {
    port: u16,
    /// Where it speaks TLS, if it does.
    tls_port: Option<u16>,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl RedisServer {
    /// `None`, told, where no server is installed.
    pub fn start() -> Option<Self> {
        Self::start_on(false)
    }

    /// One that speaks TLS too, with the certificate `a` of `tests/data/tls`.
    pub fn start_with_tls() -> Option<Self> {
        Self::start_on(true)
    }

    fn start_on(tls: bool) -> Option<Self> {
        let installed = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        if installed.is_err() {
            println!("skipped: redis-server is not installed (tools/test install does it on Debian)");
            return None;
        }
        // Somebody else may take the port before the server does: then another one.
        eventually("a Redis server on a free port", || {
            let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let (port, tls_port) = (free(), tls.then(free));
            let mut server = Self { port, tls_port, dir: tempfile::tempdir().unwrap(), child: None };
            server.begin().then_some(server)
        })
        .into()
    }

    /// Begins (again), empty; whether it did.
    pub fn begin(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        if let Some(port) = self.tls_port {
            let file = |kind: &str| format!("{}/tests/data/tls/a.{kind}", env!("CARGO_MANIFEST_DIR"));
            command.args(["--tls-port", &port.to_string(), "--tls-auth-clients", "no"]);
            command.args(["--tls-cert-file", &file("crt"), "--tls-key-file", &file("key")]);
            command.args(["--tls-ca-cert-file", &file("crt")]);
        }
        let mut child = command.current_dir(self.dir.path()).stdout(Stdio::null()).spawn().unwrap();
        // Whoever else took the port meanwhile has another number.
        let its_own = format!("process_id:{}\r\n", child.id());
        let up = eventually("the Redis server answers or ends", || {
            if greeting(self.port).is_ok_and(|text| text.contains(&its_own)) {
                return Some(true);
            }
            child.try_wait().unwrap().map(|_| false)
        });
        self.child = Some(child);
        up
    }

    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Its address for those who speak TLS.
    pub fn tls_address(&self) -> String {
        format!("rediss://localhost:{}/", self.tls_port.unwrap())
    }

    /// Has gateways keep their sessions here.
    pub fn session_store(&self) -> SessionStore {
        let (address, key) = (Secret::new(self.address()), Secret::new(SESSION_KEY));
        SessionStore::Redis(VaultSettings { address, key, expiry_s: 3_600 })
    }

    /// At once and without a word.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Asks it something.
    pub fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = redis::Client::open(self.address()).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            let mut command = redis::cmd(words[0]);
            words[1..].iter().for_each(|word| _ = command.arg(word));
            command.query_async(&mut connection).await.unwrap()
        })
    }

    /// Waits until it has `count` keys of that pattern.
    #[track_caller]
    pub fn until_keys(&self, pattern: &str, count: usize) -> Vec<String> {
        eventually_true("Redis has the keys", || self.ask::<Vec<String>>(&["KEYS", pattern]).len() == count);
        self.ask(&["KEYS", pattern])
    }
}

/// What a Redis server at that port tells about itself.
fn greeting(port: u16) -> std::io::Result<String> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port))?;
    tcp.set_read_timeout(Some(Duration::from_secs(1)))?;
    tcp.write_all(b"INFO server\r\nQUIT\r\n")?;
    let mut text = String::new();
    tcp.read_to_string(&mut text)?;
    Ok(text)
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
