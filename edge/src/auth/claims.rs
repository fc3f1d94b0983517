//! What a token says, in types that hold no nonsense: a time is a whole number of seconds that a
//! double can hold, a list is bounded, a claim that comes twice is an error.

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny};
use sterna_core::{Action, Permission};
use sterna_proto::limits;

/// Most entries of the `channels` claim.
const PERMISSIONS: usize = 256;

/// The parts of a header that matter. Everything else is not looked at, above all `jku`, `x5u`,
/// `x5c` and `jwk`.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) crit: Option<IgnoredAny>,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Claims {
    pub(super) sub: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) exp: Option<NumericDate>,
    #[serde(default, deserialize_with = "present")]
    pub(super) nbf: Option<NumericDate>,
    #[serde(default, deserialize_with = "present")]
    pub(super) iat: Option<NumericDate>,
    #[serde(default, deserialize_with = "present")]
    pub(super) aud: Option<Audience>,
    #[serde(default, deserialize_with = "present")]
    pub(super) iss: Option<String>,
    #[serde(default)]
    pub(super) channels: ChannelsClaim,
}

/// A claim that is there has a value: `null` does not pass for its absence.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Seconds since 1970, at most 2^53 so that no parser on the way can have rounded them.
#[derive(Debug, Clone, Copy)]
pub(super) struct NumericDate(u64);

impl NumericDate {
    pub(super) fn unix_ms(self) -> u64 {
        self.0.saturating_mul(1000)
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u64::deserialize(from)? {
            seconds if seconds <= 1 << 53 => Ok(Self(seconds)),
            _ => Err(D::Error::custom("a time above 2^53 seconds")),
        }
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    pub(super) fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::One(given) => given == wanted,
            Self::Many(given) => given.iter().any(|given| given == wanted),
        }
    }
}

/// The `channels` claim as it is written.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct ChannelsClaim(Vec<Entry>);

#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
enum Entry {
    Pattern(String),
    Detailed(Detailed),
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Detailed {
    pattern: String,
    actions: Vec<String>,
}

impl ChannelsClaim {
    pub(super) fn into_permissions(self) -> Result<Vec<Permission>, &'static str> {
        if self.0.len() > PERMISSIONS {
            return Err("more than 256 entries");
        }
        self.0.into_iter().map(Entry::into_permission).collect()
    }
}

impl Entry {
    fn into_permission(self) -> Result<Permission, &'static str> {
        let (pattern, actions) = match self {
            Self::Pattern(pattern) => (pattern, everyday_actions()),
            Self::Detailed(Detailed { pattern, actions }) => {
                (pattern, actions.iter().map(|name| action(name)).collect::<Result<_, _>>()?)
            }
        };
        check_pattern(&pattern)?;
        Ok(Permission { pattern, actions })
    }
}

/// What a bare pattern gives: everything but changing who is in a channel.
fn everyday_actions() -> Vec<Action> {
    Action::ALL.into_iter().filter(|action| *action != Action::Manage).collect()
}

fn action(name: &str) -> Result<Action, &'static str> {
    Action::ALL.into_iter().find(|action| action.name() == name).ok_or("an unknown action")
}

/// A `*` elsewhere than at the end would look like a wildcard and match nothing.
fn check_pattern(pattern: &str) -> Result<(), &'static str> {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    if pattern.is_empty() || name.contains('*') {
        return Err("a pattern is a channel name, or a prefix followed by *");
    }
    if name.len() > limits::CHANNEL_BYTES { Err("a pattern is too long") } else { Ok(()) }
}
