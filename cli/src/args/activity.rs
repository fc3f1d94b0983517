//! How closely `sterna sub` follows its channel.

use clap::ValueEnum;
use sterna_client::Activity;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ActivityArg {
    /// Print every publication at once
    Active,
    /// Print every publication; those that come together are sent together
    Foreground,
    /// Print no publications, only now and then where the channel ends
    Background,
}

impl From<ActivityArg> for Activity {
    fn from(arg: ActivityArg) -> Self {
        match arg {
            ActivityArg::Active => Self::Active,
            ActivityArg::Foreground => Self::Foreground,
            ActivityArg::Background => Self::Background,
        }
    }
}
