//! Proof to continue a session.

use sterna_proto::SessionId;

/// Names a session and proves the right to it. The secret is random and lives as long as the
/// session; nothing in a ticket can be forged from another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResumeTicket {
    pub session: SessionId,
    pub secret: [u8; 16],
}

const VERSION: u8 = 1;

impl ResumeTicket {
    /// A ticket for a new session.
    pub fn random() -> Self {
        Self { session: SessionId(rand::random()), secret: rand::random() }
    }

    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(33);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.session.0.to_be_bytes());
        bytes.extend_from_slice(&self.secret);
        bytes
    }

    /// `None` for anything that is no ticket of ours; the client then gets a new session.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (session, secret) = rest.split_at_checked(16)?;
        if *version != VERSION {
            return None;
        }
        Some(Self {
            session: SessionId(u128::from_be_bytes(session.try_into().ok()?)),
            secret: secret.try_into().ok()?,
        })
    }

    /// Compares secrets in constant time.
    pub fn proves(&self, other: &Self) -> bool {
        let differing =
            self.secret.iter().zip(&other.secret).fold(0u8, |acc, (a, b)| acc | (a ^ b));
        self.session == other.session && differing == 0
    }
}

impl std::fmt::Debug for ResumeTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResumeTicket").field("session", &self.session).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_ticket_proves() {
        let ticket = ResumeTicket::random();
        let bytes = ticket.to_bytes();
        assert!(ResumeTicket::from_bytes(&bytes).unwrap().proves(&ticket));
        for at in 1..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            assert!(!ResumeTicket::from_bytes(&forged).unwrap().proves(&ticket), "byte {at}");
            assert!(ResumeTicket::from_bytes(&bytes[..at]).is_none());
        }
        assert!(ResumeTicket::from_bytes(&[2; 33]).is_none());
        assert!(ResumeTicket::from_bytes(&[1; 34]).is_none());
    }
}
