//! A user service: keys, tokens, and a server of key sets with the test in command.
#![expect(clippy::disallowed_types, reason = "a test's own record, met by no hot path that is measured")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tickfan::identity::api_key::{self, ApiKeyEntry};
use tickfan::identity::fetch::Fetcher;
use tickfan::identity::gate::{GateSettings, Policy};
use tickfan::identity::issuer::IssuerSettings;
use tickfan::identity::key::Key;
use tickfan::identity::permissions::Permissions;

/// A key pair with its name.
#[derive(Clone)]
pub struct Pair {
    pub kid: String,
    pub algorithm: Algorithm,
    pub key: EncodingKey,
}

impl Pair {
    pub fn new(kid: &str, algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let key = match algorithm {
            Algorithm::ES256 => {
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
                EncodingKey::from_ec_der(pkcs8.as_ref())
            }
            Algorithm::EdDSA => EncodingKey::from_ed_der(Ed25519KeyPair::generate_pkcs8v1(&random).unwrap().as_ref()),
            Algorithm::RS256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
                // The library wants what PKCS#8 wraps: an RSAPrivateKey, behind 26 bytes of header at this size.
                EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..])
            }
            other => panic!("no keys for {other:?}"),
        };
        Self { kid: kid.into(), algorithm, key }
    }

    /// Its public half, as an entry of a key set.
    pub fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    pub fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.clone());
        header
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&self.header(), claims, &self.key).unwrap()
    }
}

/// What tokens are signed with where there is no key pair.
pub const SECRET: &str = "a-shared-secret-of-more-than-32-bytes";

/// What sessions in Redis are authenticated with.
pub const SESSION_KEY: &str = "0123456789abcdef0123456789abcdef";

/// An issuer with that secret only.
pub fn shared_issuer() -> IssuerSettings {
    let second = Duration::from_secs(1);
    IssuerSettings {
        issuer: "user_service".into(),
        audience: "trading_platform".into(),
        secret: Some(Key::shared(SECRET.as_bytes())),
        keys: None,
        refresh: second,
        cool_down: second,
        stale: second,
        lifetime: Duration::from_secs(86_400),
    }
}

/// A gate that believes that issuer.
pub fn by_secret(policy: Policy) -> GateSettings {
    GateSettings { policy, issuers: vec![shared_issuer()], ..GateSettings::default() }
}

/// A token of that issuer.
pub fn shared(user: &str, changes: Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(user, changes), &key).unwrap()
}

/// An API key of a client, and its entry; without permissions it has those of the gate.
pub fn key_of(client: &str, permissions: Option<&[&str]>) -> (String, ApiKeyEntry) {
    let (key, hash) = api_key::generate();
    let id = api_key::id_of(&key).unwrap().to_owned();
    let permissions = permissions.map(|words| Permissions::parse(words.iter().copied()).unwrap());
    (key, ApiKeyEntry { id, client: client.into(), hash, permissions })
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Good claims of a user, with some changed; null takes one away.
pub fn claims(user: &str, changes: Value) -> Value {
    let mut claims = json!({"sub": format!("id-{user}"), "email": user, "iss": "user_service",
        "aud": "trading_platform", "iat": now(), "exp": now() + 600, "jti": format!("jti-{user}"), "session_id": "s1"});
    let map = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            map.remove(name);
        } else {
            map.insert(name.clone(), value.clone());
        }
    }
    claims
}

/// How a request for keys is answered.
#[derive(Clone)]
pub enum Reply {
    /// With this key set.
    Keys(Vec<Value>),
    /// With these bytes, whatever they are.
    Raw(Vec<u8>),
    /// With a head that promises more, and then nothing.
    Stall,
    /// With an end.
    HangUp,
}

/// Serves keys on a port of the system's choice.
pub struct KeyServer {
    pub address: SocketAddr,
    reply: Arc<Mutex<Reply>>,
    asked: Arc<AtomicUsize>,
}

impl KeyServer {
    pub fn start(keys: &[&Pair]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let reply = Arc::new(Mutex::new(Reply::Keys(keys.iter().map(|pair| pair.jwk()).collect())));
        let asked = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (Arc::clone(&reply), Arc::clone(&asked));
        std::thread::spawn(move || {
            while let Ok((tcp, _)) = listener.accept() {
                let reply = answers.lock().unwrap().clone();
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || serve(tcp, reply));
            }
        });
        Self { address, reply, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}/v1/auth/.well-known/jwks.json", self.address)
    }

    pub fn answer(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    pub fn publish(&self, keys: &[&Pair]) {
        self.answer(Reply::Keys(keys.iter().map(|pair| pair.jwk()).collect()));
    }

    /// Connections so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn fetcher(&self) -> Fetcher {
        Fetcher::new(self.url().parse().unwrap(), Some("127.0.0.1")).unwrap()
    }

    /// An issuer with its keys here, and generous times.
    pub fn issuer(&self, name: &str) -> IssuerSettings {
        IssuerSettings {
            issuer: name.into(),
            audience: "trading_platform".into(),
            secret: None,
            keys: Some(self.fetcher()),
            refresh: Duration::from_secs(3_600),
            cool_down: Duration::from_secs(30),
            stale: Duration::from_secs(86_400),
            lifetime: Duration::from_secs(86_400),
        }
    }
}

fn serve(mut tcp: TcpStream, reply: Reply) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(tcp.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let body = |body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    // The client may have left: that is its right.
    let _ = match reply {
        Reply::Keys(keys) => tcp.write_all(&body(json!({"keys": keys}).to_string().as_bytes())),
        Reply::Raw(bytes) => tcp.write_all(&bytes),
        Reply::Stall => {
            let begun = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{");
            let _ = tcp.read(&mut byte);
            begun
        }
        Reply::HangUp => Ok(()),
    };
}
