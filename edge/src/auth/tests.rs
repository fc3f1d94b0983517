//! Tokens good and hostile, one row each.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use sterna_core::Action;
use sterna_proto::{ChannelId, UserId};

use super::*;
use crate::testing::moved_by;
use sterna_core::revocations::{REVOCATIONS, Revocation};

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

/// Judges tokens, each with its name and the verdict that is due.
fn judge_all<'a>(
    authenticator: &Authenticator,
    rows: impl IntoIterator<Item = (&'a str, String, Verdict)>,
) {
    for (name, token, wanted) in rows {
        let found = match authenticator.check(&token, NOW_MS) {
            Ok(identity) => {
                assert!(!identity.operator, "{name}: a token never acts for the operator");
                Good
            }
            Err(AuthError::Invalid) => Invalid,
            Err(AuthError::Expired) => Expired,
            Err(AuthError::Later) => panic!("there is no JWKS to wait for"),
        };
        assert_eq!(found, wanted, "{name}: {token:.300}");
    }
}

/// Who signs a row.
#[derive(Clone, Copy)]
enum By {
    Hs,
    Rs,
    Es,
    Ed,
    /// A key that is not configured.
    Stranger,
    Nobody,
}

impl By {
    fn token(self, header: &str, claims: &str) -> String {
        let s = signers();
        let signer = match self {
            Self::Hs => &s.hs,
            Self::Rs => &s.rs,
            Self::Es => &s.es,
            Self::Ed => &s.ed,
            Self::Stranger => &s.es_stranger,
            Self::Nobody => {
                return format!("{}.{}.", b64(header.as_bytes()), b64(claims.as_bytes()));
            }
        };
        signer.token(header, claims)
    }
}

#[test]
fn headers_choose_among_configured_keys_and_do_nothing_else() {
    let good = good_claims();
    let rows = KEYS.iter().chain(ALGORITHMS).chain(HEADER_SHAPES);
    let rows = rows.map(|(name, by, header, wanted)| (*name, by.token(header, &good), *wanted));
    judge_all(&authenticator(), rows);
}

type HeaderRow = (&'static str, By, &'static str, Verdict);

/// Which key verifies.
const KEYS: &[HeaderRow] = &[
    ("HS256", By::Hs, r#"{"alg":"HS256","typ":"JWT"}"#, Good),
    ("HS256, no typ", By::Hs, r#"{"alg":"HS256"}"#, Good),
    ("a key without kid serves any kid", By::Hs, r#"{"alg":"HS256","kid":"any"}"#, Good),
    ("RS256", By::Rs, r#"{"alg":"RS256","kid":"rs-1"}"#, Good),
    ("ES256", By::Es, r#"{"alg":"ES256","kid":"es-1"}"#, Good),
    ("EdDSA", By::Ed, r#"{"alg":"EdDSA","kid":"ed-1"}"#, Good),
    ("no kid: keys of the algorithm are tried", By::Es, r#"{"alg":"ES256"}"#, Good),
    ("jku is ignored", By::Hs, r#"{"alg":"HS256","jku":"https://evil.example/k"}"#, Good),
    ("x5u is ignored", By::Hs, r#"{"alg":"HS256","x5u":"file:///etc/passwd"}"#, Good),
    ("jwk of any shape is ignored", By::Hs, r#"{"alg":"HS256","jwk":[{"k":1}]}"#, Good),
    (
        "a key in the header does not verify",
        By::Stranger,
        r#"{"alg":"ES256","jwk":{"kty":"EC","crv":"P-256"}}"#,
        Invalid,
    ),
    ("a stranger's key", By::Stranger, r#"{"alg":"ES256","kid":"es-1"}"#, Invalid),
    ("unknown kid", By::Es, r#"{"alg":"ES256","kid":"es-2"}"#, Invalid),
    ("kid of another key", By::Es, r#"{"alg":"ES256","kid":"ed-1"}"#, Invalid),
    ("kid a path", By::Es, r#"{"alg":"ES256","kid":"../../dev/null"}"#, Invalid),
    ("kid SQL", By::Es, r#"{"alg":"ES256","kid":"x' UNION SELECT 'k"}"#, Invalid),
    ("kid twice", By::Es, r#"{"alg":"ES256","kid":"es-1","kid":"es-1"}"#, Invalid),
    ("kid null", By::Hs, r#"{"alg":"HS256","kid":null}"#, Invalid),
    ("kid a number", By::Hs, r#"{"alg":"HS256","kid":1}"#, Invalid),
];

/// A key is bound to one algorithm, whatever the header says.
const ALGORITHMS: &[HeaderRow] = &[
    ("alg none", By::Nobody, r#"{"alg":"none"}"#, Invalid),
    ("alg None", By::Nobody, r#"{"alg":"None"}"#, Invalid),
    ("alg NONE with kid", By::Nobody, r#"{"alg":"NONE","kid":"rs-1"}"#, Invalid),
    ("alg empty", By::Nobody, r#"{"alg":""}"#, Invalid),
    ("alg missing", By::Nobody, r#"{"typ":"JWT"}"#, Invalid),
    ("alg null", By::Nobody, r#"{"alg":null}"#, Invalid),
    ("alg a list", By::Nobody, r#"{"alg":["HS256"]}"#, Invalid),
    ("HS256 without signature", By::Nobody, r#"{"alg":"HS256"}"#, Invalid),
    ("alg twice", By::Hs, r#"{"alg":"none","alg":"HS256"}"#, Invalid),
    ("ES256 said to be RS256", By::Es, r#"{"alg":"RS256","kid":"es-1"}"#, Invalid),
    ("HS256 said to be HS512", By::Hs, r#"{"alg":"HS512"}"#, Invalid),
    ("hs256 in small letters", By::Hs, r#"{"alg":"hs256"}"#, Invalid),
];

const HEADER_SHAPES: &[HeaderRow] = &[
    ("crit", By::Hs, r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, Invalid),
    ("crit empty", By::Hs, r#"{"alg":"HS256","crit":[]}"#, Invalid),
    ("not JSON", By::Hs, "HS256", Invalid),
    ("a list", By::Hs, r#"["HS256"]"#, Invalid),
    ("a byte order mark", By::Hs, "\u{feff}{\"alg\":\"HS256\"}", Invalid),
    ("two", By::Hs, r#"{"alg":"HS256"}{"alg":"HS256"}"#, Invalid),
];

#[test]
fn a_token_is_three_parts_and_nothing_around_them() {
    let good = hs(&good_claims());
    judge_all(&authenticator(), [("untouched", good.clone(), Good)]);
    let rows = MANGLED.iter().map(|(name, mangle)| (*name, mangle(&good), Invalid));
    judge_all(&authenticator(), rows);
    let long = hs(&claims(&format!(r#""x":"{}","#, "a".repeat(65_536))));
    judge_all(&authenticator(), [("64 KiB", long, Invalid)]);
}

/// What is done to a good token.
type Mangle = fn(&str) -> String;

const MANGLED: &[(&str, Mangle)] = &[
    ("empty", |_| String::new()),
    ("dots only", |_| "..".into()),
    ("one part", |_| "abc".into()),
    ("two parts", |_| "abc.def".into()),
    ("four parts", |good| format!("{good}.x")),
    ("five parts (JWE)", |good| format!("{good}.x.y")),
    ("padding", |good| format!("{good}=")),
    ("a blank in front", |good| format!(" {good}")),
    ("a line feed behind", |good| format!("{good}\n")),
    ("Bearer in front", |good| format!("Bearer {good}")),
    ("not ASCII", |good| format!("{good}é")),
    ("signature cut", |good| good[..good.len() - 1].into()),
];

#[test]
fn signatures_hold_for_one_key_and_one_message() {
    let (s, good) = (signers(), good_claims());
    // Signed with the RSA public key as if it were an HMAC secret.
    let confused = Signer {
        algorithm: Algorithm::HS256,
        key: EncodingKey::from_secret(s.rs.public_pem.as_bytes()),
        public_pem: String::new(),
    };
    let confused = confused.token(r#"{"alg":"HS256","kid":"rs-1"}"#, &good);
    let es = By::Es.token(r#"{"alg":"ES256","kid":"es-1"}"#, &good);
    let (message, signature) = es.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let swapped = format!("{header}.{}.{signature}", b64(claims(r#""x":1,"#).as_bytes()));
    let zeros = format!("{message}.{}", b64(&[0; 64]));
    let rows = [
        ("HS256 keyed with the RSA public key", confused, Invalid),
        ("claims swapped under the signature", swapped, Invalid),
        ("ES256 signature of zeros", zeros, Invalid),
    ];
    judge_all(&authenticator(), rows);
}

#[test]
fn claims_are_an_object_with_a_user() {
    let subject = |sub: &str| hs(&format!(r#"{{"sub":{sub},"exp":{}}}"#, NOW_S + 60));
    let rows = CLAIM_SETS.iter().map(|(name, claims, wanted)| (*name, hs(claims), *wanted));
    judge_all(&authenticator(), rows);
    let rows = SUBJECTS.iter().map(|(name, sub, wanted)| (*name, subject(sub), *wanted));
    judge_all(&authenticator(), rows);
    let long = format!(r#""{}""#, "a".repeat(65));
    judge_all(&authenticator(), [("sub too long", subject(&long), Invalid)]);
}

/// Name, a piece of JSON, verdict.
type ClaimRow = (&'static str, &'static str, Verdict);

/// All of the claims.
const CLAIM_SETS: &[ClaimRow] = &[
    ("not JSON", "alice", Invalid),
    ("a list", "[]", Invalid),
    ("a list in the order of the claims", r#"["alice",1800000060]"#, Invalid),
    ("null", "null", Invalid),
    ("no sub", r#"{"exp":1800000060}"#, Invalid),
    ("no exp", r#"{"sub":"alice"}"#, Invalid),
];

/// Values of `sub`.
const SUBJECTS: &[ClaimRow] = &[
    ("sub null", "null", Invalid),
    ("sub empty", r#""""#, Invalid),
    ("sub a number", "7", Invalid),
    ("sub with a blank", r#""al ice""#, Invalid),
    ("sub with a line feed", r#""al\nice""#, Invalid),
    ("sub with a right-to-left mark", r#""al\u202eice""#, Invalid),
    ("sub with a NUL", r#""alice\u0000""#, Invalid),
    ("sub with a lone surrogate", r#""\ud800""#, Invalid),
    ("sub with a colon", r#""dm:alice""#, Invalid),
    ("sub of other letters", r#""東京""#, Good),
];

#[test]
fn times_are_whole_seconds_within_the_leeway() {
    let expiry = |exp: &str| hs(&format!(r#"{{"sub":"alice","exp":{exp}}}"#));
    let rows = EXPIRIES.iter().map(|(name, exp, wanted)| (*name, expiry(exp), *wanted));
    judge_all(&authenticator(), rows);
    let rows = STARTS.iter().map(|(name, extra, wanted)| (*name, hs(&claims(extra)), *wanted));
    judge_all(&authenticator(), rows);
}

/// Values of `exp`; now is 1800000000.
const EXPIRIES: &[ClaimRow] = &[
    ("exp null", "null", Invalid),
    ("exp a text", r#""1800000060""#, Invalid),
    ("exp a fraction", "1800000060.5", Invalid),
    ("exp a whole float", "1800000060.0", Invalid),
    ("exp with exponent", "18e8", Invalid),
    ("exp negative", "-1", Invalid),
    ("exp 2^53", "9007199254740992", Good),
    ("exp 2^53 + 1", "9007199254740993", Invalid),
    ("exp 2^64", "18446744073709551616", Invalid),
    ("exp NaN", "NaN", Invalid),
    ("exp true", "true", Invalid),
    ("exp 0", "0", Expired),
    ("exp a minute ago", "1799999940", Expired),
    ("exp at the end of the leeway", "1799999990", Expired),
    ("exp inside the leeway", "1799999991", Good),
];

/// Members in front of good claims; now is 1800000000.
const STARTS: &[ClaimRow] = &[
    ("nbf now", r#""nbf":1800000000,"#, Good),
    ("nbf inside the leeway", r#""nbf":1800000010,"#, Good),
    ("nbf later", r#""nbf":1800000011,"#, Invalid),
    ("nbf a text", r#""nbf":"0","#, Invalid),
    ("nbf negative", r#""nbf":-5,"#, Invalid),
    ("iat later", r#""iat":1800000011,"#, Invalid),
    ("iat a text", r#""iat":"1","#, Invalid),
];

#[test]
fn other_claims_are_read_strictly_or_not_at_all() {
    let list = |len: usize| format!(r#""channels":{},"#, channel_list(len));
    let deep = format!(r#""x":{}{},"#, "[".repeat(2000), "]".repeat(2000));
    let long = format!(r#""channels":["{}"],"#, "a".repeat(129));
    let sized = [
        ("a deep unknown claim", deep, Good),
        ("pattern too long", long, Invalid),
        ("256 channels", list(256), Good),
        ("257 channels", list(257), Invalid),
    ];
    let rows = OTHERS.iter().map(|(name, extra, wanted)| (*name, (*extra).to_owned(), *wanted));
    let rows = rows.chain(sized).map(|(name, extra, wanted)| (name, hs(&claims(&extra)), wanted));
    judge_all(&authenticator(), rows);
}

/// Members in front of good claims.
const OTHERS: &[ClaimRow] = &[
    ("sub twice", r#""sub":"root","#, Invalid),
    ("exp twice", r#""exp":99999999999,"#, Invalid),
    ("unknown claims", r#""x":{"y":[1,2]},"#, Good),
    ("aud without a configured one", r#""aud":"other","#, Invalid),
    ("iss is free when none is configured", r#""iss":"x","#, Good),
    ("channels a text", r#""channels":"room:*","#, Invalid),
    ("channels null", r#""channels":null,"#, Invalid),
    ("channels of numbers", r#""channels":[1],"#, Invalid),
    ("channels empty", r#""channels":[],"#, Good),
    ("pattern empty", r#""channels":[""],"#, Invalid),
    ("pattern with * inside", r#""channels":["a*b"],"#, Invalid),
    ("pattern **", r#""channels":["**"],"#, Invalid),
    ("unknown action", r#""channels":[{"pattern":"a","actions":["root"]}],"#, Invalid),
    ("no actions named", r#""channels":[{"pattern":"a"}],"#, Invalid),
    (
        "an unknown member of an entry",
        r#""channels":[{"pattern":"a","actions":[],"deny":true}],"#,
        Invalid,
    ),
];

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
    let rows = [
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
    let revocations = Arc::<Revocations>::default();
    let authenticator = authenticator().sharing(revocations.clone());
    let token = |user: &str, iat: u64| {
        hs(&format!(r#"{{"sub":"{user}","iat":{iat},"exp":{}}}"#, NOW_S + 60))
    };
    let alice = UserId::new("alice").unwrap();
    for before_ms in [NOW_MS - 5_000, NOW_MS - 50_000] {
        revocations.add(Revocation { user: Some(alice.clone()), before_ms });
    }
    let check = |token: &str| authenticator.check(token, NOW_MS).is_ok();
    assert!(!check(&token("alice", NOW_S - 6)));
    assert!(check(&token("alice", NOW_S - 5)));
    assert!(check(&token("bob", NOW_S - 6)));
    assert!(!check(&hs(&good_claims())), "who does not say when it was issued was issued before");
}

#[test]
fn i12_a_full_revocation_list_refuses_more_never_less() {
    let revocations = Arc::<Revocations>::default();
    let authenticator = authenticator().sharing(revocations.clone());
    let moved = moved_by(|| {
        for n in 0..=REVOCATIONS as u64 {
            let user = Some(UserId::new(&format!("user-{n}")).unwrap());
            revocations.add(Revocation { user, before_ms: NOW_MS - 60_000 + n });
        }
    });
    assert_eq!(moved["sterna_core_revocations_held"], REVOCATIONS as f64);
    assert_eq!(moved["sterna_core_revocations_evicted_total"], 1.0);
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
