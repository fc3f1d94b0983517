//! The hash tag of each partition. Tags are chosen so that partition `p` of `n` falls into the
//! `p`th of `n` equal runs of slots: nodes own runs of slots, so each gets its even share.

/// One tag for each partition, the same on every node and at every start. At most as many as there
/// are slots.
pub(crate) fn tags(partitions: u16) -> Vec<String> {
    let count = usize::from(partitions);
    let mut tags = vec![String::new(); count];
    let mut missing = count;
    let mut candidate = 0_u32;
    // Some 8,000 candidates for 1,024 partitions, since each fits one run by chance.
    while missing > 0 {
        let tag = format!("{candidate:x}");
        let run = usize::from(slot(tag.as_bytes())) * count / usize::from(SLOTS);
        if tags[run].is_empty() {
            tags[run] = tag;
            missing -= 1;
        }
        candidate += 1;
    }
    tags
}

/// The slot of a key, or of all keys with this tag.
pub(crate) fn slot(tag: &[u8]) -> u16 {
    // CRC16/XMODEM, as the Cluster specification has it.
    let crc = tag.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % SLOTS
}

/// Of a Cluster.
pub(crate) const SLOTS: u16 = 16_384;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use redis::cluster_routing::Slot;

    use super::*;

    #[test]
    fn slots_are_those_of_a_cluster() {
        for key in ["", "a", "123456789", "route", "0f3", "ünïcode"] {
            assert_eq!(Slot::new(slot(key.as_bytes())), Some(Slot::for_key(key)), "{key}");
        }
    }

    #[test]
    fn partitions_spread_evenly_over_nodes() {
        for partitions in [1, 16, 100, 1024] {
            let tags = tags(partitions);
            let distinct: HashSet<_> = tags.iter().collect();
            assert_eq!(distinct.len(), usize::from(partitions));
            for nodes in [1, 3, 6] {
                let mut shares = vec![0_usize; nodes];
                for tag in &tags {
                    // As `redis-cli --cluster create` deals slots out.
                    let node = usize::from(slot(tag.as_bytes())) * nodes / usize::from(SLOTS);
                    shares[node] += 1;
                }
                let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
                // A border between nodes cuts through one partition's run at most.
                assert!(most - least <= 2, "{partitions} over {nodes} nodes: {shares:?}");
            }
        }
    }

    #[test]
    fn tags_are_the_same_at_every_start() {
        assert_eq!(tags(1024), tags(1024));
        // Nodes of different builds share keys: another choice of tags would part them.
        let few = tags(4);
        assert_eq!(few, ["3", "2", "1", "0"].map(str::to_owned));
    }
}
