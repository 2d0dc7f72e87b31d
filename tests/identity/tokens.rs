//! What makes a token good.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tickfan::identity::issuer::IssuerSettings;
use tickfan::identity::key::Key;
use tickfan::identity::permissions::Permissions;
use tickfan::identity::principal::Proof;
use tickfan::identity::refusal::Refusal;

use crate::support::keys::{KeyServer, Pair, SECRET, claims, shared, shared_issuer};
use crate::{Bench, token_of};

#[test]
fn a_good_token_of_each_algorithm_says_who_it_is() {
    let pairs = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA].map(|alg| Pair::new(&format!("{alg:?}"), alg));
    let server = KeyServer::start(&pairs.each_ref());
    let bench = Bench::of(vec![IssuerSettings {
        secret: Some(Key::shared(SECRET.as_bytes())),
        ..server.issuer("user_service")
    }]);
    let more = json!({"name": "Ann", "roles": ["trader"], "permissions": ["segment:NSE"]});
    for token in
        pairs.iter().map(|pair| pair.sign(&claims("ann@x", more.clone()))).chain([shared("ann@x", more.clone())])
    {
        let who = bench.identify(&token).unwrap();
        assert_eq!((&*who.user, &*who.sub, who.session_id.as_str()), ("ann@x", "id-ann@x", "s1"));
        assert_eq!((who.name.as_str(), who.roles.len(), who.jti.as_deref()), ("Ann", 1, Some("jti-ann@x")));
        assert_eq!(who.permissions, Permissions::parse(["segment:NSE"]).unwrap());
        assert_eq!(who.proof, Proof::Jwt);
    }
    let bare = json!({"email": null, "jti": null, "session_id": null, "iat": null});
    let who = bench.identify(&shared("ann@x", bare)).unwrap();
    assert_eq!((&*who.user, who.session_id.as_str(), who.jti), ("id-ann@x", "unknown", None));
    let several = json!({"aud": ["other", "trading_platform"]});
    bench.identify(&shared("ann@x", several)).unwrap();
    assert_eq!(server.asked(), 1);
}

#[test]
fn forged_tokens_are_refused() {
    let (rsa, ec) = (Pair::new("rsa", Algorithm::RS256), Pair::new("ec", Algorithm::ES256));
    let ed = Pair::new("ed", Algorithm::EdDSA);
    let server = KeyServer::start(&[&rsa, &ec, &ed]);
    let bench = Bench::of(vec![server.issuer("user_service")]);
    let good = claims("ann", json!({}));
    bench.identify(&rsa.sign(&good)).unwrap();

    let mut forged = Vec::new();
    // No algorithm, in every spelling, with and without a signature.
    for alg in ["none", "None", "NONE", "nOnE", "", "HS257"] {
        for kid in ["rsa", "ec"] {
            forged.push(token_of(&json!({"alg": alg, "kid": kid}), &good, b""));
            forged.push(token_of(&json!({"alg": alg, "kid": kid}), &good, &[1; 64]));
        }
    }
    // A public key used as a shared secret, in the forms an attacker has it in.
    for pair in [&rsa, &ec, &ed] {
        let jwk = pair.jwk();
        let coordinates = ["n", "x"].iter().filter_map(|name| jwk[name].as_str());
        let raw = coordinates.clone().map(|text| BASE64.decode(text).unwrap());
        for secret in
            coordinates.clone().map(|text| text.as_bytes().to_vec()).chain(raw).chain([jwk.to_string().into()])
        {
            for alg in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let mut header = Header::new(alg);
                header.kid = Some(pair.kid.clone());
                forged.push(jsonwebtoken::encode(&header, &good, &EncodingKey::from_secret(&secret)).unwrap());
            }
        }
    }
    // Each key under the others' algorithms, and under others of its own family.
    for (pair, others) in [
        (&rsa, ["ES256", "EdDSA", "PS256", "RS384", "RS512", "PS512"].as_slice()),
        (&ec, &["RS256", "EdDSA", "ES384", "PS256"]),
        (&ed, &["RS256", "ES256"]),
    ] {
        let token = pair.sign(&good);
        let (_, rest) = token.split_once('.').unwrap();
        for alg in others {
            let header = BASE64.encode(json!({"alg": alg, "kid": pair.kid}).to_string());
            forged.push(format!("{header}.{rest}"));
        }
    }
    // A good signature by another's key; by a key of the same kind that nobody published.
    for (pair, kid) in [
        (&rsa, "ec"),
        (&ec, "ed"),
        (&Pair::new("x", Algorithm::ES256), "ec"),
        (&Pair::new("x", Algorithm::EdDSA), "ed"),
    ] {
        let mut header = pair.header();
        header.kid = Some(kid.into());
        forged.push(jsonwebtoken::encode(&header, &good, &pair.key).unwrap());
    }
    // Pieces that were exchanged, left out, or are too many.
    let token = ec.sign(&good);
    let parts: Vec<_> = token.split('.').collect();
    let bob = ec.sign(&claims("bob", json!({})));
    let bobs = bob.split('.').nth(1).unwrap();
    forged.push(format!("{}.{bobs}.{}", parts[0], parts[2]));
    forged.push(format!("{}.{}.", parts[0], parts[1]));
    forged.push(format!("{}.{}", parts[0], parts[1]));
    forged.push(format!("{token}.{}", parts[2]));
    forged.push(format!(".{token}"));
    forged.push(format!("{}..{}", parts[0], parts[2]));
    forged.push(format!("{token}="));
    forged.push(BASE64.encode(&token));
    forged.extend(["", ".", "..", "...", "a.b.c", "{}.{}.{}"].map(String::from));
    let mut bent = BASE64.decode(parts[2]).unwrap();
    bent[10] ^= 1;
    forged.push(format!("{}.{}.{}", parts[0], parts[1], BASE64.encode(&bent)));
    // The signature that every verifier without a range check takes for any message.
    forged.push(format!("{}.{}.{}", parts[0], parts[1], BASE64.encode([0; 64])));
    forged.push(format!("{}.{}.{}", parts[0], parts[1], "A".repeat(20_000)));
    for token in &forged {
        let refusal = bench.identify(token).expect_err(token);
        assert!(refusal.is_failure(), "{refusal:?}: {token}");
    }
    assert!(forged.len() > 70);
    bench.identify(&token).unwrap();
}

#[test]
fn checks_that_libraries_leave_off_are_on() {
    let bench = Bench::of(vec![shared_issuer()]);
    let (now, far) = (bench.now(), 9_007_199_254_740_992_u64);
    for (changes, refusal) in [
        (json!({"exp": null}), Refusal::Claims),
        (json!({"iss": null}), Refusal::Claims),
        (json!({"aud": null}), Refusal::Claims),
        (json!({"sub": null}), Refusal::Claims),
        (json!({"sub": ""}), Refusal::Claims),
        (json!({"sub": 7}), Refusal::Claims),
        (json!({"sub": "line\nbreak"}), Refusal::Claims),
        (json!({"email": "x".repeat(257)}), Refusal::Claims),
        (json!({"jti": "x".repeat(257)}), Refusal::Claims),
        (json!({"iss": ["user_service"]}), Refusal::Claims),
        (json!({"iss": "other"}), Refusal::Issuer),
        (json!({"iss": "user_service "}), Refusal::Issuer),
        (json!({"aud": "other"}), Refusal::Audience),
        (json!({"aud": []}), Refusal::Audience),
        (json!({"aud": ["a", "b"]}), Refusal::Audience),
        (json!({"exp": (now + 600).to_string()}), Refusal::Claims),
        (json!({"exp": 1e300}), Refusal::Claims),
        (json!({"exp": -1}), Refusal::Claims),
        (json!({"exp": far}), Refusal::Claims),
        (json!({"exp": now - 6}), Refusal::Expired),
        (json!({"exp": now + 2 * 86_400}), Refusal::Lifetime),
        (json!({"nbf": now + 3_600}), Refusal::NotYet),
        (json!({"nbf": "soon"}), Refusal::Claims),
        (json!({"iat": "then"}), Refusal::Claims),
        (json!({"permissions": "stream:all"}), Refusal::Claims),
    ] {
        assert_eq!(bench.identify(&shared("ann", changes.clone())), Err(refusal), "{changes}");
    }
    let twice = claims("ann", json!({})).to_string().replacen('{', "{\"exp\":1,", 1);
    let (header, twice) = (BASE64.encode(r#"{"alg":"HS256"}"#), BASE64.encode(twice));
    let message = format!("{header}.{twice}");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = BASE64.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()));
    bench.refuses(&format!("{message}.{signature}"), Refusal::Claims);
    // Clocks may be five seconds apart; times may have fractions.
    for changes in [json!({"exp": now - 2}), json!({"nbf": now + 4}), json!({"exp": now as f64 + 60.5})] {
        bench.identify(&shared("ann", changes)).unwrap();
    }
}

#[test]
fn headers_that_name_keys_or_extensions_are_refused_before_any_key_is_asked_for() {
    let pair = Pair::new("k", Algorithm::ES256);
    let server = KeyServer::start(&[&pair]);
    let bench = Bench::of(vec![server.issuer("user_service")]);
    let good = claims("ann", json!({}));
    let evil = format!("http://{}/evil", server.address);
    let long = "k".repeat(129);
    for (field, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("jku", json!(evil)),
        ("x5u", json!(evil)),
        ("jwk", pair.jwk()),
        ("x5c", json!(["AAAA"])),
        ("zip", json!("DEF")),
        ("kid", json!("../../etc/passwd\0")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!("a\nb")),
        ("kid", json!("")),
        ("kid", json!(long)),
    ] {
        let mut header = json!({"alg": "ES256", "typ": "JWT", "kid": "k"});
        header[field] = value;
        let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(good.to_string()));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &pair.key, Algorithm::ES256).unwrap();
        bench.refuses(&format!("{message}.{signature}"), Refusal::Header);
    }
    let huge = token_of(&json!({"alg": "ES256", "kid": "k".repeat(1_000_000)}), &good, &[1; 64]);
    bench.refuses(&huge, Refusal::Malformed);
    assert_eq!(server.asked(), 0);
    bench.refuses(&token_of(&json!({"alg": "ES256"}), &good, &[1; 64]), Refusal::UnknownKey);
}
