//! Sessions in Redis, for several gateways that serve the same clients.
//!
//! | key | what |
//! | --- | --- |
//! | `tickfan:session:{id}` | a hash: `fence`, a number; `value`, the record in JSON behind its MAC |
//! | `indicator_subscribers:{symbol}:{timeframe}:{indicator_id}` | the set of `ws_conn_id`s, for operators |
//! | `tickfan:claimed` | a channel: the key and the fence of every session that was resumed |
//! | `tickfan:connection:{ws_conn_id}` | is there as long as the connection: what has none is taken out of the sets |
//!
//! Every key ends by itself. A record is believed only with the right MAC (HMAC-SHA256 over version, id, fence and JSON),
//! so who can write to Redis cannot make sessions; and it is replaced only by one with the same or a higher fence, in one
//! step, so of two gateways one wins. While Redis does not answer, sessions go on from memory and what they change waits.

use super::counters::Counters;
use super::record::{Record, VERSION};
use super::sessions::Sessions;
use super::token::SessionId;
use crate::secret::Secret;
use aws_lc_rs::hmac;
use futures_util::StreamExt;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Pipeline, RedisError, cmd};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long Redis may take for an answer before it counts as gone.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How often what has changed is written.
const ROUND: Duration = Duration::from_millis(200);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// Records written in one go.
const BATCH: usize = 256;
/// Sessions with a connection are written at least this often, so that operators' sets do not end.
const TOUCH_S: f64 = 60.0;
/// How long those sets outlive their last writing.
const SETS_S: u64 = 200;

/// Replaces a record unless there is one with a higher fence (or, third argument, any but the one before).
const WRITE: &str = r"
local fence = tonumber(redis.call('HGET', KEYS[1], 'fence') or 0)
local mine = tonumber(ARGV[1])
if fence > mine or (ARGV[4] == '1' and fence ~= 0 and fence ~= mine - 1) then return 0 end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'value', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
if ARGV[4] == '1' then redis.call('PUBLISH', 'tickfan:claimed', KEYS[1] .. ':' .. ARGV[1]) end
return 1";

/// Puts a connection into a set, and takes some out that are gone.
const ENTER: &str = r"
redis.call('SADD', KEYS[1], ARGV[1])
for _, other in ipairs(redis.call('SRANDMEMBER', KEYS[1], 4)) do
  if other ~= ARGV[1] and redis.call('EXISTS', 'tickfan:connection:' .. other) == 0 then
    redis.call('SREM', KEYS[1], other)
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1";

/// How Redis is reached.
#[derive(Clone, Debug)]
pub struct VaultSettings {
    /// `redis://[user:password@]host[:port][/db]`.
    pub address: Secret,
    /// What records are authenticated with; the same in all gateways that share sessions.
    pub key: Secret,
    /// How long a session outlives its last writing, seconds.
    pub expiry_s: u64,
}

/// See the module. Control side.
pub struct Vault {
    client: Client,
    manager: ConnectionManager,
    key: hmac::Key,
    expiry_s: u64,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

impl Vault {
    /// A way to Redis, which need not be there yet. Must be called within the runtime.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(settings: &VaultSettings) -> Result<Self, RedisError> {
        let client = Client::open(settings.address.reveal())?;
        // It reconnects by itself; how often it is asked to is decided here.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_response_timeout(Some(TIMEOUT))
            .set_connection_timeout(Some(TIMEOUT));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, settings.key.reveal().as_bytes());
        Ok(Self { client, manager, key, expiry_s: settings.expiry_s })
    }

    /// The record of a session; `None` when there is none that can be believed.
    pub(super) async fn fetch(&self, id: SessionId, counters: &Counters) -> Result<Option<Record>, RedisError> {
        let value: Option<Vec<u8>> =
            cmd("HGET").arg(session_key(id)).arg("value").query_async(&mut self.manager.clone()).await?;
        let Some(value) = value else { return Ok(None) };
        let record = self.open(id, &value);
        if record.is_none() {
            counters.ignored.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(session = %id, "a session in Redis is damaged, forged or of another version: ignored");
        }
        Ok(record)
    }

    /// Writes a record that was just resumed; false when another gateway has resumed it.
    pub(super) async fn claim(&self, record: &Record) -> Result<bool, RedisError> {
        let mut pipeline = redis::pipe();
        self.write(&mut pipeline, record, true);
        let written: Vec<u8> = pipeline.query_async(&mut self.manager.clone()).await?;
        Ok(written == [1])
    }

    fn write(&self, pipeline: &mut Pipeline, record: &Record, claims: bool) {
        let eval = pipeline.cmd("EVAL").arg(WRITE).arg(1).arg(session_key(record.id));
        eval.arg(record.fence).arg(self.seal(record)).arg(self.expiry_s).arg(u8::from(claims));
    }

    /// The record behind its MAC.
    fn seal(&self, record: &Record) -> Vec<u8> {
        let body = serde_json::to_vec(record).unwrap_or_default();
        let mac = hmac::sign(&self.key, &signed(record.id, &body));
        [mac.as_ref(), &body].concat()
    }

    fn open(&self, id: SessionId, value: &[u8]) -> Option<Record> {
        let (mac, body) = value.split_at_checked(32)?;
        hmac::verify(&self.key, &signed(id, body), mac).ok()?;
        serde_json::from_slice(body).ok().filter(|record: &Record| record.id == id && record.version == VERSION)
    }
}

/// What the MAC is over: the body has version and fence, and must not serve for another id.
fn signed(id: SessionId, body: &[u8]) -> Vec<u8> {
    [format!("tickfan session {VERSION} {id} ").as_bytes(), body].concat()
}

fn session_key(id: SessionId) -> String {
    format!("tickfan:session:{id}")
}

/// Writes what sessions have changed, for as long as the program runs. A task on the control side.
pub async fn keep(vault: Arc<Vault>, sessions: Arc<Sessions>) {
    let mut sets = Sets::default();
    let mut touched = Instant::now();
    loop {
        if touched.elapsed().as_secs_f64() > 1.0 {
            touched = Instant::now();
            sessions.touch((vault.expiry_s as f64 / 3.0).min(TOUCH_S));
        }
        let was_up = sessions.is_up();
        match round(&vault, &sessions, &mut sets).await {
            Ok(more) => {
                if !was_up {
                    // Nobody knows what it has forgotten meanwhile. Marked before it counts as up.
                    sessions.mark_all();
                }
                sessions.succeeded();
                if was_up && !more {
                    tokio::time::sleep(ROUND).await;
                }
            }
            Err(error) => {
                sessions.failed(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Hears of sessions that other gateways have resumed, for as long as the program runs. What is not heard while the channel
/// is down shows at the next writing of the session.
pub async fn listen(vault: Arc<Vault>, sessions: Arc<Sessions>) {
    loop {
        // Whether Redis answers is told by the one who writes.
        let _ = hear(&vault, &sessions).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(vault: &Vault, sessions: &Sessions) -> Result<(), RedisError> {
    let mut channel = vault.client.get_async_pubsub().await?;
    channel.subscribe("tickfan:claimed").await?;
    let mut messages = channel.into_on_message();
    while let Some(message) = messages.next().await {
        let claimed: String = message.get_payload()?;
        if let Some((id, fence)) = claimed.strip_prefix("tickfan:session:").and_then(|rest| rest.split_once(':'))
            && let (Ok(id), Ok(fence)) = (u64::from_str_radix(id, 16), fence.parse::<u64>())
        {
            sessions.forget(SessionId(id), fence.saturating_sub(1));
        }
    }
    Ok(())
}

/// Writes a batch; whether more may wait. Without anything to write it asks whether Redis is there.
async fn round(vault: &Vault, sessions: &Sessions, sets: &mut Sets) -> Result<bool, RedisError> {
    let mut manager = vault.manager.clone();
    if !sessions.is_up() {
        cmd("PING").query_async::<()>(&mut manager).await?;
    }
    let records = sessions.take_dirty(BATCH);
    if records.is_empty() {
        return cmd("PING").query_async::<()>(&mut manager).await.map(|()| false);
    }
    let mut pipeline = redis::pipe();
    records.iter().for_each(|record| vault.write(&mut pipeline, record, false));
    records.iter().for_each(|record| sets.write(&mut pipeline, record));
    let written: Result<Vec<redis::Value>, _> = pipeline.query_async(&mut manager).await;
    let written = written.inspect_err(|_| sessions.not_written())?;
    // The first results are those of the records.
    for (record, written) in records.iter().zip(&written) {
        if *written == redis::Value::Int(0) {
            sessions.forget(record.id, record.fence);
        }
    }
    sets.written(&records);
    sessions.written();
    Ok(records.len() == BATCH)
}

/// What stands in operators' sets for the sessions of this program: the connection and its keys.
#[derive(Default)]
struct Sets(HashMap<SessionId, (String, HashSet<String>)>);

impl Sets {
    /// Brings Redis from what was written to what the record says.
    fn write(&self, pipeline: &mut Pipeline, record: &Record) {
        let (keys, connection) = (record.indicator_keys(), &record.state.connection);
        if let Some((before, old)) = self.0.get(&record.id) {
            for key in old.iter().filter(|key| before != connection || !keys.contains(key)) {
                pipeline.cmd("SREM").arg(key).arg(before);
            }
            if keys.is_empty() || before != connection {
                pipeline.cmd("DEL").arg(format!("tickfan:connection:{before}"));
            }
        }
        if !keys.is_empty() {
            pipeline.cmd("SET").arg(format!("tickfan:connection:{connection}")).arg(1).arg("EX").arg(SETS_S);
        }
        for key in keys {
            pipeline.cmd("EVAL").arg(ENTER).arg(1).arg(key).arg(connection).arg(SETS_S);
        }
    }

    fn written(&mut self, records: &[Record]) {
        for record in records {
            let keys = record.indicator_keys();
            if keys.is_empty() {
                self.0.remove(&record.id);
            } else {
                self.0.insert(record.id, (record.state.connection.clone(), keys.into_iter().collect()));
            }
        }
    }
}
