//! Tokens good and hostile, one row each.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use sterna_core::Action;
use sterna_proto::{ChannelId, UserId};

use super::revocations::REVOCATIONS;
use super::*;

/// Now, in every row.
const NOW_S: u64 = 1_800_000_000;
const NOW_MS: u64 = NOW_S * 1000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    public_pem: String,
}

/// One signer per algorithm; key generation is slow, so all rows share them.
struct Signers {
    hs: Signer,
    rs: Signer,
    es: Signer,
    ed: Signer,
    es_stranger: Signer,
}

fn signers() -> &'static Signers {
    static SIGNERS: std::sync::OnceLock<Signers> = std::sync::OnceLock::new();
    SIGNERS.get_or_init(|| Signers {
        hs: Signer {
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(SECRET),
            public_pem: String::new(),
        },
        rs: signer(Algorithm::RS256, &rcgen::PKCS_RSA_SHA256),
        es: signer(Algorithm::ES256, &rcgen::PKCS_ECDSA_P256_SHA256),
        ed: signer(Algorithm::EdDSA, &rcgen::PKCS_ED25519),
        es_stranger: signer(Algorithm::ES256, &rcgen::PKCS_ECDSA_P256_SHA256),
    })
}

fn signer(algorithm: Algorithm, kind: &'static rcgen::SignatureAlgorithm) -> Signer {
    let pair = rcgen::KeyPair::generate_for(kind).unwrap();
    let pem = pair.serialize_pem();
    let key = match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
        Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
        _ => EncodingKey::from_ed_pem(pem.as_bytes()),
    };
    Signer { algorithm, key: key.unwrap(), public_pem: pair.public_key_pem() }
}

impl Signer {
    /// Signs any two texts, JSON or not.
    fn token(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key(kid: Option<&str>, algorithm: KeyAlgorithm, material: &[u8]) -> AuthKey {
    AuthKey { kid: kid.map(str::to_owned), algorithm, material: material.to_vec() }
}

/// All four algorithms; the HS256 key has no kid.
fn all_keys() -> Vec<AuthKey> {
    let signers = signers();
    vec![
        key(None, KeyAlgorithm::Hs256, SECRET),
        key(Some("rs-1"), KeyAlgorithm::Rs256, signers.rs.public_pem.as_bytes()),
        key(Some("es-1"), KeyAlgorithm::Es256, signers.es.public_pem.as_bytes()),
        key(Some("ed-1"), KeyAlgorithm::EdDsa, signers.ed.public_pem.as_bytes()),
    ]
}

fn authenticator() -> Authenticator {
    Authenticator::new(AuthConfig::new(all_keys())).unwrap()
}

fn hs(claims: &str) -> String {
    signers().hs.token(r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

/// Good claims with `extra` members in front, each ending in a comma.
fn claims(extra: &str) -> String {
    format!(r#"{{{extra}"sub":"alice","exp":{}}}"#, NOW_S + 60)
}

fn good_claims() -> String {
    claims("")
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Good,
    Invalid,
    Expired,
}
use Verdict::{Expired, Good, Invalid};

fn judge_all(authenticator: &Authenticator, rows: Vec<(&str, String, Verdict)>) -> usize {
    for (name, token, wanted) in &rows {
        let found = match authenticator.check(token, NOW_MS) {
            Ok(identity) => {
                assert!(!identity.operator, "{name}: a token never acts for the operator");
                Good
            }
            Err(AuthError::Invalid) => Invalid,
            Err(AuthError::Expired) => Expired,
        };
        assert_eq!(found, *wanted, "{name}: {token:.300}");
    }
    rows.len()
}

#[test]
fn signatures_and_headers() {
    let s = signers();
    let good = good_claims();
    let unsigned = |header: &str| format!("{}.{}.", b64(header.as_bytes()), b64(good.as_bytes()));
    let with = |signer: &Signer, header: &str| signer.token(header, &good);
    // A token signed with the RSA public key as if it were an HMAC secret.
    let confused = {
        let signer = Signer {
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(s.rs.public_pem.as_bytes()),
            public_pem: String::new(),
        };
        signer.token(r#"{"alg":"HS256","kid":"rs-1"}"#, &good)
    };
    let es = with(&s.es, r#"{"alg":"ES256","kid":"es-1"}"#);
    let swapped = {
        let (head, signature) = es.rsplit_once('.').unwrap();
        let (header, _) = head.split_once('.').unwrap();
        format!("{header}.{}.{signature}", b64(claims(r#""x":1,"#).as_bytes()))
    };
    let hs_good = hs(&good);
    let rows = vec![
        ("HS256", hs_good.clone(), Good),
        ("HS256, no typ", with(&s.hs, r#"{"alg":"HS256"}"#), Good),
        ("a key without kid serves any kid", with(&s.hs, r#"{"alg":"HS256","kid":"any"}"#), Good),
        ("RS256", with(&s.rs, r#"{"alg":"RS256","kid":"rs-1"}"#), Good),
        ("ES256", es.clone(), Good),
        ("EdDSA", with(&s.ed, r#"{"alg":"EdDSA","kid":"ed-1"}"#), Good),
        ("no kid: keys of the algorithm are tried", with(&s.es, r#"{"alg":"ES256"}"#), Good),
        ("jku is ignored", with(&s.hs, r#"{"alg":"HS256","jku":"https://evil.example/k"}"#), Good),
        ("x5u is ignored", with(&s.hs, r#"{"alg":"HS256","x5u":"file:///etc/passwd"}"#), Good),
        ("jwk of any shape is ignored", with(&s.hs, r#"{"alg":"HS256","jwk":[{"k":1}]}"#), Good),
        (
            "a key in the header does not verify",
            with(&s.es_stranger, r#"{"alg":"ES256","jwk":{"kty":"EC","crv":"P-256"}}"#),
            Invalid,
        ),
        ("a stranger's key", with(&s.es_stranger, r#"{"alg":"ES256","kid":"es-1"}"#), Invalid),
        ("alg none", unsigned(r#"{"alg":"none"}"#), Invalid),
        ("alg None", unsigned(r#"{"alg":"None"}"#), Invalid),
        ("alg NONE with kid", unsigned(r#"{"alg":"NONE","kid":"rs-1"}"#), Invalid),
        ("alg empty", unsigned(r#"{"alg":""}"#), Invalid),
        ("alg missing", unsigned(r#"{"typ":"JWT"}"#), Invalid),
        ("alg null", unsigned(r#"{"alg":null}"#), Invalid),
        ("alg a list", unsigned(r#"{"alg":["HS256"]}"#), Invalid),
        ("HS256 without signature", unsigned(r#"{"alg":"HS256"}"#), Invalid),
        ("HS256 keyed with the RSA public key", confused, Invalid),
        ("ES256 said to be RS256", with(&s.es, r#"{"alg":"RS256","kid":"es-1"}"#), Invalid),
        ("HS256 said to be HS512", with(&s.hs, r#"{"alg":"HS512"}"#), Invalid),
        ("hs256 in small letters", with(&s.hs, r#"{"alg":"hs256"}"#), Invalid),
        ("unknown kid", with(&s.es, r#"{"alg":"ES256","kid":"es-2"}"#), Invalid),
        ("kid of another key", with(&s.es, r#"{"alg":"ES256","kid":"ed-1"}"#), Invalid),
        ("kid a path", with(&s.es, r#"{"alg":"ES256","kid":"../../dev/null"}"#), Invalid),
        ("kid SQL", with(&s.es, r#"{"alg":"ES256","kid":"x' UNION SELECT 'k"}"#), Invalid),
        ("kid twice", with(&s.es, r#"{"alg":"ES256","kid":"es-1","kid":"es-1"}"#), Invalid),
        ("alg twice", with(&s.hs, r#"{"alg":"none","alg":"HS256"}"#), Invalid),
        ("kid null", with(&s.hs, r#"{"alg":"HS256","kid":null}"#), Invalid),
        ("kid a number", with(&s.hs, r#"{"alg":"HS256","kid":1}"#), Invalid),
        ("crit", with(&s.hs, r#"{"alg":"HS256","crit":["b64"],"b64":false}"#), Invalid),
        ("crit empty", with(&s.hs, r#"{"alg":"HS256","crit":[]}"#), Invalid),
        ("claims swapped under the signature", swapped, Invalid),
        ("empty", String::new(), Invalid),
        ("dots only", "..".into(), Invalid),
        ("one part", "abc".into(), Invalid),
        ("two parts", "abc.def".into(), Invalid),
        ("four parts", format!("{hs_good}.x"), Invalid),
        ("five parts (JWE)", format!("{hs_good}.x.y"), Invalid),
        ("padding", format!("{hs_good}="), Invalid),
        ("a blank in front", format!(" {hs_good}"), Invalid),
        ("a line feed behind", format!("{hs_good}\n"), Invalid),
        ("Bearer in front", format!("Bearer {hs_good}"), Invalid),
        ("not ASCII", format!("{hs_good}é"), Invalid),
        ("signature cut", hs_good[..hs_good.len() - 1].into(), Invalid),
        ("header not JSON", s.hs.token("HS256", &good), Invalid),
        ("header a list", s.hs.token(r#"["HS256"]"#, &good), Invalid),
        ("header with a byte order mark", with(&s.hs, "\u{feff}{\"alg\":\"HS256\"}"), Invalid),
        ("two headers", with(&s.hs, r#"{"alg":"HS256"}{"alg":"HS256"}"#), Invalid),
        ("64 KiB", hs(&claims(&format!(r#""x":"{}","#, "a".repeat(65_536)))), Invalid),
        (
            "ES256 signature of zeros",
            {
                let (head, _) = es.rsplit_once('.').unwrap();
                format!("{head}.{}", b64(&[0; 64]))
            },
            Invalid,
        ),
    ];
    assert!(judge_all(&authenticator(), rows) > 50);
}

#[test]
fn claims_and_times() {
    let sub = |sub: &str| hs(&format!(r#"{{"sub":{sub},"exp":{}}}"#, NOW_S + 60));
    let exp = |exp: &str| hs(&format!(r#"{{"sub":"alice","exp":{exp}}}"#));
    let deep = format!(r#""x":{}{},"#, "[".repeat(2000), "]".repeat(2000));
    let rows = vec![
        ("not JSON", hs("alice"), Invalid),
        ("a list", hs("[]"), Invalid),
        ("a list in the order of the claims", hs(r#"["alice",1800000060]"#), Invalid),
        ("claims null", hs("null"), Invalid),
        ("no sub", hs(&format!(r#"{{"exp":{}}}"#, NOW_S + 60)), Invalid),
        ("sub null", sub("null"), Invalid),
        ("sub empty", sub(r#""""#), Invalid),
        ("sub a number", sub("7"), Invalid),
        ("sub with a blank", sub(r#""al ice""#), Invalid),
        ("sub with a line feed", sub(r#""al\nice""#), Invalid),
        ("sub with a right-to-left mark", sub(r#""al\u202eice""#), Invalid),
        ("sub with a NUL", sub(r#""alice\u0000""#), Invalid),
        ("sub with a lone surrogate", sub(r#""\ud800""#), Invalid),
        ("sub with a colon", sub(r#""dm:alice""#), Invalid),
        ("sub too long", sub(&format!(r#""{}""#, "a".repeat(65))), Invalid),
        ("sub of other letters", sub(r#""東京""#), Good),
        ("sub twice", hs(&claims(r#""sub":"root","#)), Invalid),
        ("exp twice", hs(&claims(r#""exp":99999999999,"#)), Invalid),
        ("unknown claims", hs(&claims(r#""x":{"y":[1,2]},"#)), Good),
        ("deep unknown claim", hs(&claims(&deep)), Good),
        ("exp missing", hs(r#"{"sub":"alice"}"#), Invalid),
        ("exp null", exp("null"), Invalid),
        ("exp a text", exp(r#""1800000060""#), Invalid),
        ("exp a fraction", exp("1800000060.5"), Invalid),
        ("exp a whole float", exp("1800000060.0"), Invalid),
        ("exp with exponent", exp("18e8"), Invalid),
        ("exp negative", exp("-1"), Invalid),
        ("exp 2^53", exp("9007199254740992"), Good),
        ("exp 2^53 + 1", exp("9007199254740993"), Invalid),
        ("exp 2^64", exp("18446744073709551616"), Invalid),
        ("exp NaN", exp("NaN"), Invalid),
        ("exp true", exp("true"), Invalid),
        ("exp 0", exp("0"), Expired),
        ("exp a minute ago", exp(&(NOW_S - 60).to_string()), Expired),
        ("exp at the end of the leeway", exp(&(NOW_S - 10).to_string()), Expired),
        ("exp inside the leeway", exp(&(NOW_S - 9).to_string()), Good),
        ("nbf now", hs(&claims(&format!(r#""nbf":{NOW_S},"#))), Good),
        ("nbf inside the leeway", hs(&claims(&format!(r#""nbf":{},"#, NOW_S + 10))), Good),
        ("nbf later", hs(&claims(&format!(r#""nbf":{},"#, NOW_S + 11))), Invalid),
        ("nbf a text", hs(&claims(r#""nbf":"0","#)), Invalid),
        ("nbf negative", hs(&claims(r#""nbf":-5,"#)), Invalid),
        ("iat later", hs(&claims(&format!(r#""iat":{},"#, NOW_S + 11))), Invalid),
        ("iat a text", hs(&claims(r#""iat":"1","#)), Invalid),
        ("aud without a configured one", hs(&claims(r#""aud":"other","#)), Invalid),
        ("iss is free when none is configured", hs(&claims(r#""iss":"x","#)), Good),
        ("channels a text", hs(&claims(r#""channels":"room:*","#)), Invalid),
        ("channels null", hs(&claims(r#""channels":null,"#)), Invalid),
        ("channels of numbers", hs(&claims(r#""channels":[1],"#)), Invalid),
        ("channels empty", hs(&claims(r#""channels":[],"#)), Good),
        ("pattern empty", hs(&claims(r#""channels":[""],"#)), Invalid),
        ("pattern with * inside", hs(&claims(r#""channels":["a*b"],"#)), Invalid),
        ("pattern **", hs(&claims(r#""channels":["**"],"#)), Invalid),
        (
            "pattern too long",
            hs(&claims(&format!(r#""channels":["{}"],"#, "a".repeat(129)))),
            Invalid,
        ),
        (
            "unknown action",
            hs(&claims(r#""channels":[{"pattern":"a","actions":["root"]}],"#)),
            Invalid,
        ),
        ("no actions named", hs(&claims(r#""channels":[{"pattern":"a"}],"#)), Invalid),
        (
            "an unknown member of an entry",
            hs(&claims(r#""channels":[{"pattern":"a","actions":[],"deny":true}],"#)),
            Invalid,
        ),
        ("256 channels", hs(&claims(&format!(r#""channels":{},"#, channel_list(256)))), Good),
        ("257 channels", hs(&claims(&format!(r#""channels":{},"#, channel_list(257)))), Invalid),
    ];
    assert!(judge_all(&authenticator(), rows) > 50);
}

fn channel_list(len: usize) -> String {
    let names: Vec<String> = (0..len).map(|n| format!("c{n}")).collect();
    serde_json::to_string(&names).unwrap()
}

#[test]
fn audience_and_issuer_when_configured() {
    let config = AuthConfig {
        audience: Some("sterna".into()),
        issuer: Some("https://login.example".into()),
        ..AuthConfig::new(all_keys())
    };
    let authenticator = Authenticator::new(config).unwrap();
    let token = |aud: &str, iss: &str| hs(&claims(&format!(r#""aud":{aud},"iss":{iss},"#)));
    let rows = vec![
        ("both fit", token(r#""sterna""#, r#""https://login.example""#), Good),
        ("one of several", token(r#"["x","sterna"]"#, r#""https://login.example""#), Good),
        ("another audience", token(r#""other""#, r#""https://login.example""#), Invalid),
        ("no audience in the list", token("[]", r#""https://login.example""#), Invalid),
        ("audience a number", token("1", r#""https://login.example""#), Invalid),
        ("part of the audience", token(r#""stern""#, r#""https://login.example""#), Invalid),
        ("another issuer", token(r#""sterna""#, r#""https://evil.example""#), Invalid),
        ("issuer a list", token(r#""sterna""#, r#"["https://login.example"]"#), Invalid),
        ("aud missing", hs(&claims(r#""iss":"https://login.example","#)), Invalid),
        ("iss missing", hs(&claims(r#""aud":"sterna","#)), Invalid),
    ];
    judge_all(&authenticator, rows);
}

#[test]
fn a_bare_pattern_gives_everything_but_manage() {
    let token = hs(&claims(
        r#""channels":["room:*",{"pattern":"lobby","actions":["subscribe","manage"]}],"#,
    ));
    let identity = authenticator().check(&token, NOW_MS).unwrap();
    let room = ChannelId::new("room:1").unwrap();
    let lobby = ChannelId::new("lobby").unwrap();
    for action in Action::ALL {
        assert_eq!(identity.permits(&room, action), action != Action::Manage, "{action:?}");
    }
    assert!(identity.permits(&lobby, Action::Manage));
    assert!(!identity.permits(&lobby, Action::Publish));
    assert_eq!(identity.user, UserId::new("alice").unwrap());
    assert_eq!(identity.expires_at_ms, Some((NOW_S + 70) * 1000), "leeway included");
    let bare = authenticator().check(&hs(&good_claims()), NOW_MS).unwrap();
    assert!(bare.permissions.is_empty(), "no claim, no channel");
}

#[test]
fn expiry_can_be_left_out_when_the_configuration_says_so() {
    let config = AuthConfig { require_expiry: false, ..AuthConfig::new(all_keys()) };
    let authenticator = Authenticator::new(config).unwrap();
    let identity = authenticator.check(&hs(r#"{"sub":"alice"}"#), NOW_MS).unwrap();
    assert_eq!(identity.expires_at_ms, None);
    let expired = hs(&format!(r#"{{"sub":"alice","exp":{}}}"#, NOW_S - 60));
    assert_eq!(authenticator.check(&expired, NOW_MS), Err(AuthError::Expired));
}

#[test]
fn i11_revocation_voids_earlier_tokens_of_that_user_only() {
    let authenticator = authenticator();
    let token = |user: &str, iat: u64| {
        hs(&format!(r#"{{"sub":"{user}","iat":{iat},"exp":{}}}"#, NOW_S + 60))
    };
    let alice = UserId::new("alice").unwrap();
    authenticator.revoke(&alice, NOW_MS - 5_000);
    authenticator.revoke(&alice, NOW_MS - 50_000);
    let check = |token: &str| authenticator.check(token, NOW_MS).is_ok();
    assert!(!check(&token("alice", NOW_S - 6)));
    assert!(check(&token("alice", NOW_S - 5)));
    assert!(check(&token("bob", NOW_S - 6)));
    assert!(!check(&hs(&good_claims())), "who does not say when it was issued was issued before");
}

#[test]
fn i12_a_full_revocation_list_refuses_more_never_less() {
    let authenticator = authenticator();
    for n in 0..=REVOCATIONS as u64 {
        let user = UserId::new(&format!("user-{n}")).unwrap();
        authenticator.revoke(&user, NOW_MS - 60_000 + n);
    }
    let token = |user: &str, iat: u64| {
        hs(&format!(r#"{{"sub":"{user}","iat":{iat},"exp":{}}}"#, NOW_S + 60))
    };
    assert!(authenticator.check(&token("user-0", NOW_S - 61), NOW_MS).is_err());
    assert!(authenticator.check(&token("somebody", NOW_S - 61), NOW_MS).is_err());
    assert!(authenticator.check(&token("somebody", NOW_S - 60), NOW_MS).is_ok());
}

#[test]
fn keys_that_cannot_serve_are_refused_at_the_start() {
    let s = signers();
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let private = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let new = |keys: Vec<AuthKey>| {
        Authenticator::new(AuthConfig::new(keys)).map(drop).map_err(|error| error.to_string())
    };
    let one = |algorithm, material: &[u8]| new(vec![key(None, algorithm, material)]);
    let refused = [
        (new(vec![]), "no key is configured"),
        (new(vec![key(None, KeyAlgorithm::Hs256, SECRET); 17]), "17 keys are configured"),
        (one(KeyAlgorithm::Hs256, b"short"), "at least 32 bytes; this one has 5"),
        (one(KeyAlgorithm::Hs256, s.rs.public_pem.as_bytes()), "this HS256 secret is a PEM key"),
        (one(KeyAlgorithm::Es256, private.as_bytes()), "this is a private key"),
        (one(KeyAlgorithm::Es256, p384.public_key_pem().as_bytes()), "not on the curve P-256"),
        (one(KeyAlgorithm::Es256, s.rs.public_pem.as_bytes()), "not a public key in PEM for ES256"),
        (one(KeyAlgorithm::Rs256, b"garbage"), "not a public key in PEM for RS256"),
        (one(KeyAlgorithm::EdDsa, s.es.public_pem.as_bytes()), "not a public key in PEM for EdDSA"),
        (
            new(vec![
                key(Some("a"), KeyAlgorithm::Hs256, SECRET),
                key(Some("a"), KeyAlgorithm::Es256, s.es.public_pem.as_bytes()),
            ]),
            "the kid `a` is used twice",
        ),
    ];
    for (verdict, wanted) in refused {
        let error = verdict.expect_err(wanted);
        assert!(error.contains(wanted), "{error}");
    }
    assert_eq!(
        "RS512".parse::<KeyAlgorithm>().unwrap_err().to_string(),
        "`RS512` is not an algorithm; use one of HS256, RS256, ES256, EdDSA"
    );
    assert!(!format!("{:?}", all_keys()).contains("48, 49, 50"), "secrets stay out of logs");
}
