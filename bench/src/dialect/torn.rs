//! Puts together what arrives in pieces. Owns the bytes of a message that is not whole yet; knows no
//! protocol.

use anyhow::Result;

/// The beginning of a message whose end has not come.
#[derive(Debug, Default)]
pub(super) struct Torn(Vec<u8>);

impl Torn {
    /// Gives `take` what has come until it says that no whole message is left. `take` reads the
    /// first message and says how long it was; `None`: it is not whole.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<Option<usize>>,
    ) -> Result<()> {
        let mut rest = bytes;
        let held;
        if !self.0.is_empty() {
            self.0.extend_from_slice(bytes);
            held = std::mem::take(&mut self.0);
            rest = &held;
        }
        while !rest.is_empty() {
            let Some(length) = take(rest)? else { break };
            rest = rest.get(length..).unwrap_or_default();
        }
        self.0 = rest.to_vec();
        Ok(())
    }
}
