//! Where a handshake may carry a token.

use super::refusal::Refusal;
use crate::secret::Secret;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

/// The subprotocol that announces a token as the next one in `Sec-WebSocket-Protocol`. It alone is echoed.
pub const SUBPROTOCOL: &str = "bearer";

/// The credential of a request: `Authorization: Bearer`, else the subprotocols `bearer, TOKEN`, else the query's `token`
/// or `api_key` where that is allowed.
///
/// # Errors
/// [`Refusal::Query`] for one in the query where it is not; [`Refusal::Malformed`] for an `Authorization` of another kind.
pub fn of(parts: &Parts, query_allowed: bool) -> Result<Option<Secret>, Refusal> {
    let queried = queried(parts.uri.query().unwrap_or_default());
    if queried.is_some() && !query_allowed {
        return Err(Refusal::Query);
    }
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let text = value.to_str().map_err(|_| Refusal::Malformed)?;
        let (scheme, token) = text.split_once(' ').ok_or(Refusal::Malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::Malformed);
        }
        return Ok(Some(Secret::new(token.trim())));
    }
    if let Some(token) = subprotocol(&parts.headers) {
        return Ok(Some(Secret::new(token)));
    }
    Ok(queried.map(Secret::new))
}

/// Whether [`SUBPROTOCOL`] is offered. Then the answer must choose it, also where the token is refused: a browser drops a
/// connection without it before it sees the reason.
pub fn offers_subprotocol(headers: &HeaderMap) -> bool {
    offered(headers).any(|name| name == SUBPROTOCOL)
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// The subprotocol behind `bearer`.
fn subprotocol(headers: &HeaderMap) -> Option<&str> {
    offered(headers).skip_while(|name| *name != SUBPROTOCOL).nth(1)
}

/// The resume token in a query. It opens nothing by itself where clients must show who they are, and holds once.
pub fn resume(parts: &Parts) -> Option<Secret> {
    in_query(parts.uri.query().unwrap_or_default(), &["resume"]).map(Secret::new)
}

/// The token in a query.
fn queried(query: &str) -> Option<String> {
    in_query(query, &["token", "api_key"])
}

/// The first value with one of these names that is not empty.
fn in_query(query: &str, names: &[&str]) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, value)| names.contains(name) && !value.is_empty())?;
    Some(decoded(value))
}

/// Percent-encoding undone. Tokens and keys are plain ASCII: what is not decodes to something that is no token.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let request = headers.iter().fold(Request::get(uri), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn token(uri: &str, headers: &[(&str, &str)]) -> Option<String> {
        of(&parts(uri, headers), true).unwrap().map(|token| token.reveal().to_owned())
    }

    #[test]
    fn a_token_is_found_in_each_place() {
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(token("/ws/stream", &[]), None);
        assert_eq!(token("/ws/stream?token=a.b.c&x=1", &[]), is("a.b.c"));
        assert_eq!(token("/ws/stream?x=1&token=a%2Eb%2ec", &[]), is("a.b.c"));
        assert_eq!(token("/ws/stream?api_key=sb_1", &[]), is("sb_1"));
        assert_eq!(token("/ws/stream?token=", &[]), None);
        assert_eq!(token("/", &[("authorization", "bearer a.b.c")]), is("a.b.c"));
        assert_eq!(token("/?token=q", &[("authorization", "Bearer h")]), is("h"));
        assert_eq!(token("/", &[("sec-websocket-protocol", "v1, bearer, a.b.c")]), is("a.b.c"));
        assert_eq!(token("/", &[("sec-websocket-protocol", "bearer"), ("sec-websocket-protocol", "t")]), is("t"));
        assert_eq!(token("/", &[("sec-websocket-protocol", "chat, v1")]), None);
    }

    #[test]
    fn what_is_switched_off_or_of_another_kind_is_refused() {
        assert_eq!(of(&parts("/?token=x", &[]), false), Err(Refusal::Query));
        assert_eq!(of(&parts("/?token=x", &[("authorization", "Bearer h")]), false), Err(Refusal::Query));
        assert_eq!(of(&parts("/", &[("authorization", "Basic dTpw")]), true), Err(Refusal::Malformed));
        assert_eq!(of(&parts("/?tokens=x", &[]), false), Ok(None));
    }
}
