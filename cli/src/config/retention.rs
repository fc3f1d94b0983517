//! How long publications stay.

use sterna_storage::keeping::Retention;
use sterna_storage_keeping::RetentionConfig;

use super::Reader;
use crate::args::parse_duration;

impl Reader {
    pub(super) fn retention(&mut self) -> Option<RetentionConfig> {
        let defaults = RetentionConfig::default();
        let direct = self.retention_of("retention.direct");
        let group = self.retention_of("retention.group");
        let broadcast = self.retention_of("retention.broadcast");
        let every = self.duration("retention.every", "1h", "100ms", "7d");
        let rate = u64::from(defaults.lookups_per_second);
        let rate = self.integer("retention.lookups_per_second", rate, 1..=10_000_000);
        let believe_clock = self.bool("retention.believe_clock", defaults.believe_clock);
        Some(RetentionConfig {
            direct: direct?,
            group: group?,
            broadcast: broadcast?,
            every: every?,
            lookups_per_second: rate? as u32,
            believe_clock: believe_clock?,
        })
    }

    fn retention_of(&mut self, path: &str) -> Option<Retention> {
        let Some(text) = self.text(path) else { return Some(Retention::Forever) };
        match parse_retention(&text) {
            Ok(retention) => Some(retention),
            Err(reason) => self.refuse(path, reason),
        }
    }
}

/// `forever`, or a duration of at least a second.
pub(crate) fn parse_retention(text: &str) -> Result<Retention, String> {
    if text == "forever" {
        return Ok(Retention::Forever);
    }
    let millis = u64::try_from(parse_duration(text)?.as_millis()).unwrap_or(u64::MAX);
    match millis {
        0..1000 => Err(format!("{text} is less than a second; to keep everything write forever")),
        millis => Ok(Retention::Millis(millis)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_a_duration_or_forever() {
        assert_eq!(parse_retention("forever"), Ok(Retention::Forever));
        assert_eq!(parse_retention("30d"), Ok(Retention::Millis(30 * 86_400_000)));
        for wrong in ["", "0s", "999ms", "never", "-1d", "Forever"] {
            assert!(parse_retention(wrong).is_err(), "{wrong}");
        }
    }
}
