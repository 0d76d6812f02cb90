//! Tokens of each algorithm, and what is wrong with each.

use super::*;
use dormouse_filter_sdk::testing;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer;

const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
const CLAIMS: &str = r#"{"iss":"us","aud":["them","you"],"exp":1000,"nbf":10,"sub":"ann"}"#;

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn curve_key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

fn config() -> String {
    let point = curve_key().verifying_key().to_sec1_point(false);
    let (x, y) = (point.x().unwrap(), point.y().unwrap());
    format!(
        r#"{{"issuer": "us", "audience": "you", "keys": [
            {{"alg": "HS256", "kid": "h", "k": "{}"}},
            {{"alg": "ES256", "kid": "e", "x": "{}", "y": "{}"}}]}}"#,
        encode(SECRET),
        encode(x),
        encode(y)
    )
}

fn signed(header: &str, claims: &str) -> String {
    let text = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(claims.as_bytes())
    );
    let mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
    let signature = mac.chain_update(&text).finalize().into_bytes();
    format!("{text}.{}", encode(&signature))
}

fn check(token: &str, now: f64) -> Result<String, &'static str> {
    Jwt::configure(&config()).unwrap().check(token, now)
}

#[test]
fn a_good_token_has_a_subject() {
    let token = signed(r#"{"alg":"HS256","kid":"h"}"#, CLAIMS);
    assert_eq!(check(&token, 999.0).unwrap(), "ann");
    let text = format!(
        "{}.{}",
        encode(br#"{"alg":"ES256"}"#),
        encode(CLAIMS.as_bytes())
    );
    let signature: p256::ecdsa::Signature = curve_key().sign(text.as_bytes());
    let token = format!("{text}.{}", encode(&signature.to_bytes()));
    assert_eq!(check(&token, 999.0).unwrap(), "ann");
}

#[test]
fn each_wrong_token_is_refused_for_its_reason() {
    let hs = r#"{"alg":"HS256"}"#;
    let good = signed(hs, CLAIMS);
    for (token, now, reason) in [
        (good.clone(), 1000.0, "expired"),
        (good.clone(), 9.0, "not_yet_valid"),
        (
            signed(hs, &CLAIMS.replace("us", "es")),
            500.0,
            "wrong_issuer",
        ),
        (
            signed(hs, &CLAIMS.replace("you", "xyz")),
            500.0,
            "wrong_audience",
        ),
        (
            signed(hs, r#"{"iss":"us","aud":"you"}"#),
            500.0,
            "no_expiry",
        ),
        (signed(r#"{"alg":"none"}"#, CLAIMS), 500.0, "unknown_key"),
        (
            signed(r#"{"alg":"HS256","kid":"e"}"#, CLAIMS),
            500.0,
            "unknown_key",
        ),
        // The curve's key is not taken for a shared secret.
        (signed(r#"{"alg":"ES256"}"#, CLAIMS), 500.0, "bad_signature"),
        (
            signed(r#"{"alg":"HS256","crit":["x"]}"#, CLAIMS),
            500.0,
            "unknown_extension",
        ),
        (good[..good.len() - 3].to_owned(), 500.0, "bad_signature"),
        (good.replace('.', ""), 500.0, "malformed"),
        (format!("{good}="), 500.0, "malformed"),
        // Subjects that no header can have.
        (
            signed(hs, &CLAIMS.replace("ann", r"ann\r\nx-admin: 1")),
            500.0,
            "malformed",
        ),
        (
            signed(hs, &CLAIMS.replace("ann", r"a\u0000")),
            500.0,
            "malformed",
        ),
        (
            signed(hs, &CLAIMS.replace("ann", r"a\u007f")),
            500.0,
            "malformed",
        ),
        ("x".repeat(MAX_TOKEN + 1), 500.0, "too_long"),
    ] {
        assert_eq!(check(&token, now), Err(reason), "{token} at {now}");
    }
}

/// The answer to these headers of a filter with this among its configuration.
fn asked(more: &str, pairs: &[(&str, &str)]) -> Answer {
    let config = config().replacen('{', &format!("{{{more}"), 1);
    let (metadata, headers) = (testing::metadata(500_000), testing::headers(pairs));
    Jwt::configure(&config).unwrap().request_headers(&Request {
        metadata: &metadata,
        method: "POST",
        uri: "/agents/echo",
        headers: &headers,
    })
}

#[test]
fn the_token_is_in_the_header_that_is_configured() {
    let good = signed(r#"{"alg":"HS256"}"#, CLAIMS);
    let bearer = format!("Bearer {good}");
    let own = r#""header": "X-JWT","#;
    for (more, header, value, passes) in [
        ("", "Authorization", &*bearer, true),
        ("", "authorization", &good, false),
        ("", "x-jwt", &bearer, false),
        (own, "x-jwt", &bearer, true),
        (own, "X-Jwt", &format!("bearer  {good} "), true),
        (own, "x-jwt", &good, true),
        (own, "x-jwt", &format!("Basic {good}"), false),
        (own, "x-jwt", "", false),
        (own, "x-jwt", "Bearer", false),
        (own, "authorization", &bearer, false),
    ] {
        let answer = asked(more, &[(header, value)]);
        assert_eq!(answer.is_allow(), passes, "{more} {header}: {value}");
        assert_eq!(answer.status(), (!passes).then_some(401));
    }
    // A token of the platform is beside it.
    let both = [("authorization", "Bearer drm_platform"), ("x-jwt", &*good)];
    assert_eq!(
        asked(own, &both),
        Answer::allow().set_request(SUBJECT, "ann")
    );
    for header in ["", "x jwt", "x-jwt:", "jeton-été", "X-JWT-Subject"] {
        let config = config().replacen('{', &format!(r#"{{"header": "{header}","#), 1);
        let error = Jwt::configure(&config).err().unwrap();
        assert!(error.contains("no header"), "{header}: {error}");
    }
}

#[test]
fn a_changed_letter_breaks_the_signature() {
    let other = encode(CLAIMS.replace("ann", "bob").as_bytes());
    let good = signed(r#"{"alg":"HS256"}"#, CLAIMS);
    let mut parts: Vec<&str> = good.split('.').collect();
    parts[1] = &other;
    assert_eq!(check(&parts.join("."), 500.0), Err("bad_signature"));
}

#[test]
fn weak_keys_are_refused() {
    for (key, word) in [
        (r#"{"alg":"HS256","k":"c2hvcnQ"}"#, "32 bytes"),
        (r#"{"alg":"RS256","n":"_w","e":"AQAB"}"#, "2048"),
        (r#"{"alg":"ES256","x":"AA","y":"AA"}"#, "curve"),
        (r#"{"alg":"none"}"#, "none"),
    ] {
        let config = format!(r#"{{"issuer":"us","audience":"you","keys":[{key}]}}"#);
        let error = Jwt::configure(&config).err().unwrap();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn what_lets_in_others_than_meant_is_refused() {
    for (from, to, word) in [
        (r#""issuer": "us""#, r#""issuer": """#, "issuer"),
        (r#""audience": "you""#, r#""audience": """#, "audience"),
        ("{", r#"{"leeway":3601,"#, "leeway"),
    ] {
        let wrong = config().replacen(from, to, 1);
        let error = Jwt::configure(&wrong).err().unwrap();
        assert!(error.contains(word), "{wrong}: {error}");
    }
    assert!(Jwt::configure(&config().replacen('{', r#"{"leeway":3600,"#, 1)).is_ok());
}

#[test]
fn an_rsa_key_has_no_more_bits_than_can_be_checked_in_time() {
    let of = |bytes: usize| rsa::PublicKey::new(&vec![0xff; bytes], &[1, 0, 1]);
    for (bits, fits) in [(2040, false), (2048, true), (4096, true), (4104, false)] {
        assert_eq!(of(bits / 8).is_ok(), fits, "{bits}");
    }
}

/// A filter with these RSA keys, which are all the same but for their names.
fn rsa(names: &[&str]) -> Result<Jwt, String> {
    let key = |name: &&str| format!(r#"{{"alg":"RS256","n":"{MODULUS}","e":"AQAB"{name}}}"#);
    let keys: Vec<_> = names.iter().map(key).collect();
    Jwt::configure(&format!(
        r#"{{"issuer":"us","audience":"you","keys":[{}]}}"#,
        keys.join(",")
    ))
}

#[test]
fn each_token_is_checked_with_one_rsa_key_at_most() {
    let (a, b) = (r#","kid":"a""#, r#","kid":"b""#);
    for (names, word) in [
        (&["", a][..], "needs a"),
        (&["", ""], "needs a"),
        (&[a, b, a], "two RSA keys"),
    ] {
        let error = rsa(names).err().unwrap();
        assert!(error.contains(word), "{error}");
    }
    let check = |names: &[&str], header: &str| {
        let text = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(CLAIMS.as_bytes())
        );
        let token = format!("{text}.{}", encode(&[1; 256]));
        rsa(names).unwrap().check(&token, 500.0)
    };
    for (names, header, reason) in [
        (&[""][..], r#"{"alg":"RS256"}"#, "bad_signature"),
        (&[a], r#"{"alg":"RS256"}"#, "bad_signature"),
        (&[a, b], r#"{"alg":"RS256","kid":"b"}"#, "bad_signature"),
        (&[a, b], r#"{"alg":"RS256"}"#, "unknown_key"),
        (&[a, b], r#"{"alg":"RS256","kid":"c"}"#, "unknown_key"),
    ] {
        assert_eq!(check(names, header), Err(reason), "{names:?} {header}");
    }
}

#[test]
fn what_is_cheap_is_looked_at_before_the_signature() {
    for (claims, reason) in [
        (CLAIMS.replace("us", "es"), "wrong_issuer"),
        (CLAIMS.replace("1000", "400"), "expired"),
        (CLAIMS.replace("you", "xyz"), "wrong_audience"),
        (CLAIMS.to_owned(), "bad_signature"),
    ] {
        let token = signed(r#"{"alg":"HS256"}"#, &claims);
        let forged = format!("{}.{}", token.rsplit_once('.').unwrap().0, encode(&[1; 32]));
        assert_eq!(check(&forged, 500.0), Err(reason), "{claims}");
    }
}

/// Of a key of 2048 bits that openssl made and that was thrown away: the modulus, and its signature of [`CLAIMS`].
const MODULUS: &str = "tWkjY3dtA4sEXb5sBjwAm6FB2Ob7oQli6vNplfH0mZdNRLpAwaggLsHcX5vLHhRC_RfYWolFUfqufe5_0DY-SJJMRI\
     f59rMwebwWCR30g7d7qmhu-H99lUQF34pacZT8farPAyTVoxWVzQ23PTXmae2xOmlqmPVWKKwAgnZ8aGSlIRT3uWDW\
     liX4ibhy-wV1CSNSDw_weNOqsD0yUH-avpMY5cSoBdCX2MfisFA-fyGyFNPIw9X7_scch0z00rB0K0sa_XE7kcAFNJ\
     Y2P84A7HsWeIPhpKcbEGvJaN3zGxQ9QNT97VsMmS0Z2TiSo_pz7QKMmn-Ro291kCl_PdCxoQ";
const RSA_SIGNATURE: &str = "RMXT2xDvq3dYVJ5erzHdzCuxkCWXG-EU7rsRJKgXKXY4hPf5-CQUr4WcCf9IxhfQBP4ZzGV7GBj45ac2JtnajMvZXE\
     bI3sqXeu75LJOuddgwszTCErMo_OTEprIznMARIKLDSaug41gLLxjn4egvcwdodTqqEFFvCxTlwmhY8PP7VZF9nOE1\
     VzXL887CN-6pa2vUj_6xiCXjgvqnHNRNElViSV7WYrOPPCRsWpI7-c5lvDMkwKT2g1t4Wtoemcnwcp3w-RVdQ4FwMP\
     qlKuET2zsU8zedERB_yPheM6JG4qT5Fdjewn6qs-uC2q5bUD23EaUEkBVXl5eWOAVJLLnraA";

#[test]
fn rsa_signatures_are_checked() {
    let config = format!(
        r#"{{"issuer":"us","audience":"you","keys":[{{"alg":"RS256","n":"{MODULUS}","e":"AQAB"}}]}}"#
    );
    let filter = Jwt::configure(&config).unwrap();
    let text = format!(
        "{}.{}",
        encode(br#"{"alg":"RS256"}"#),
        encode(CLAIMS.as_bytes())
    );
    let good = format!("{text}.{RSA_SIGNATURE}");
    assert_eq!(filter.check(&good, 500.0).unwrap(), "ann");
    let mut wrong = decode(RSA_SIGNATURE).unwrap();
    wrong[255] ^= 1;
    let refused = |signature: &[u8]| filter.check(&format!("{text}.{}", encode(signature)), 500.0);
    assert_eq!(refused(&wrong), Err("bad_signature"));
    assert_eq!(refused(&wrong[1..]), Err("bad_signature"));
    assert_eq!(refused(&[0xff; 256]), Err("bad_signature"));
    assert_eq!(refused(&[0; 256]), Err("bad_signature"));
}
