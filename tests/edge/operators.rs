//! Row 17: operators.

use std::net::SocketAddr;

use serde_json::json;
use tickfan::secret::Secret;
use tickfan::server::admin::{AdminSettings, Place};

use crate::support::client::{get, request};
use crate::support::eventually;
use crate::support::ticks::INFY;
use crate::{KEY, ask, with};

const PAGES: [&str; 5] =
    ["/metrics", "/stats/latency", "/stats/latency/total.hgrm", "/stats/subscriptions", "/ws/connections"];

#[test]
fn row_17_operators_pages_leave_the_public_listener() {
    let (gateway, _script) = with(|settings| {
        settings.admin = AdminSettings { place: Place::Own, key: Some(Secret::new(KEY)) };
        settings.admin_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    });
    let admin = gateway.admin_address.unwrap();
    let mut tab = gateway.client();
    let id = eventually("the session is listed", || gateway.connections().first()?["id"].as_str().map(str::to_owned));
    let bearer = format!("Authorization: Bearer {KEY}\r\n");
    for path in PAGES {
        assert_eq!(ask(gateway.address, "GET", path, &bearer).status, 404, "{path}");
        let refused = ask(admin, "GET", path, "");
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")), "{path}");
        for wrong in ["Authorization: Bearer wrong\r\n", "Cookie: admin_key=an-admin-key-of-some-length\r\n"] {
            assert_eq!(ask(admin, "GET", path, wrong).status, 401, "{path}");
        }
        assert_eq!(ask(admin, "GET", &format!("{path}?key={KEY}"), "").status, 401, "{path}");
        assert_eq!(ask(admin, "GET", path, &bearer).status, 200, "{path}");
    }
    for path in ["/", "/ws/stream", "/instruments/search"] {
        assert_eq!(ask(admin, "GET", path, &bearer).status, 404, "{path}");
    }
    let path = format!("/ws/connections/{id}");
    assert_eq!(ask(gateway.address, "DELETE", &path, &bearer).status, 404);
    assert_eq!(ask(admin, "DELETE", &path, "").status, 401);
    assert_eq!(ask(gateway.address, "POST", "/upstream/token", &bearer).status, 404);
    assert_eq!(ask(admin, "POST", "/upstream/token", "").status, 401);
    assert_eq!(ask(gateway.address, "POST", "/auth/revocations", &bearer).status, 404);
    assert_eq!(ask(admin, "POST", "/auth/revocations", "").status, 401);
    let unread = ask(admin, "POST", "/auth/revocations", &bearer);
    assert!(unread.status == 400 && unread.body.contains("revocations"), "{unread:?}");
    assert_eq!(ask(admin, "DELETE", "/ws/connections/nobody", &bearer).status, 404);
    assert_eq!(ask(admin, "DELETE", &path, &bearer).status, 200);
    assert_eq!(tab.until_closed(), (1_008, "closed by the operator".to_owned()));
    gateway.until_empty();
}

#[test]
fn row_17_without_a_key_nothing_changes_and_foreign_names_see_nothing() {
    let (gateway, _script) = with(|settings| {
        settings.admin.place = Place::Own;
        settings.admin_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    });
    let admin = gateway.admin_address.unwrap();
    assert_eq!(get(admin, "/metrics").status, 200);
    assert_eq!(ask(admin, "DELETE", "/ws/connections/x", "").status, 403);
    // A page elsewhere whose name leads here.
    let rebound = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(request(admin, rebound).status, 403);
}

#[test]
fn row_17_on_one_listener_changes_need_the_key_and_an_exposed_one_shows_nothing() {
    let (gateway, _script) = with(|settings| settings.admin.key = Some(Secret::new(KEY)));
    for path in PAGES {
        assert_eq!(get(gateway.address, path).status, 200, "{path}");
    }
    assert_eq!(ask(gateway.address, "DELETE", "/ws/connections/x", "").status, 401);
    let (gateway, _script) = with(|settings| settings.admin.place = Place::Refused);
    for path in PAGES {
        assert_eq!(get(gateway.address, path).status, 403, "{path}");
    }
    assert_eq!(get(gateway.address, "/health").status, 200);
    gateway.client().close();
}

#[test]
fn row_17_what_users_write_is_never_markup() {
    let (gateway, _script) = with(|_| {});
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let mut tab = gateway.client();
    let reply = tab.ask(&json!({"action": "subscribe", "symbols": [evil], "tokens": [INFY], "timeframes": []}));
    assert_eq!(reply["unknown_symbols"], json!([evil]));
    let query: String = evil.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for path in
        ["/ws/connections", "/stats/subscriptions", "/ws/health", &format!("/mapping/symbol-to-token?symbol={query}")]
    {
        let answer = get(gateway.address, path);
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    let page = get(gateway.address, "/");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'nonce-"));
    for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!page.body.contains(sink), "{sink}");
    }
}
