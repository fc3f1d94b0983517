//! Judges what subscribers saw against what publishers were promised. Pure. Each verdict has a
//! planted fault below that it must find: a checker that cannot fail proves nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// One publication as somebody saw it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seen {
    pub epoch: u32,
    pub offset: u64,
    pub sender: String,
    pub text: String,
}

/// A publication whose publisher got an acknowledgement, with the position that it named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acked {
    pub epoch: u32,
    pub offset: u64,
    pub sender: String,
    pub text: String,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// I1, I5: acknowledged, and absent from a view.
    Lost { view: String, acked: Acked },
    /// I1: a view has something else where an acknowledged publication belongs.
    Replaced { view: String, acked: Acked, found: Seen },
    /// I3, I13: the same position twice in a view.
    Duplicated { view: String, seen: Seen },
    /// I3: the same text of a sender at two positions.
    StoredTwice { view: String, seen: Seen, earlier_offset: u64 },
    /// I13: not after the one before it.
    Reordered { view: String, seen: Seen, after: (u32, u64) },
    /// I2: offsets that the view never saw.
    Hole { view: String, epoch: u32, after: u64, before: u64 },
    /// I2: two views disagree about a position.
    Divergent { view: String, seen: Seen, other_view: String, other: Seen },
    /// I4: nobody published this.
    Phantom { view: String, seen: Seen },
    /// A sender's publications overtook each other.
    SenderOrder { view: String, seen: Seen, expected_text: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Collects promises and views; [`faults`](Self::faults) is the verdict.
#[derive(Debug, Default)]
pub struct Checker {
    acked: Vec<Acked>,
    /// By sender, in order of publishing.
    attempted: BTreeMap<String, Vec<String>>,
    views: Vec<(String, Vec<Seen>)>,
    keeps_sender_order: bool,
}

impl Checker {
    pub fn new() -> Self {
        Self { keeps_sender_order: true, ..Self::default() }
    }

    /// For publishers that have several publications on the way.
    #[must_use]
    pub fn without_sender_order(mut self) -> Self {
        self.keeps_sender_order = false;
        self
    }

    /// `sender` tried to publish this. Texts of one sender must differ.
    pub fn attempt(&mut self, sender: &str, text: &str) {
        self.attempted.entry(sender.to_owned()).or_default().push(text.to_owned());
    }

    /// The node promised that this is stored.
    pub fn ack(&mut self, acked: Acked) {
        self.acked.push(acked);
    }

    /// What one subscriber saw, in the order in which it saw it, from the first offset on.
    pub fn view(&mut self, name: &str, seen: Vec<Seen>) {
        self.views.push((name.to_owned(), seen));
    }

    /// As [`view`](Self::view), and forgets earlier views: for a log that grows between looks.
    pub fn replace_views(&mut self, name: &str, seen: Vec<Seen>) {
        self.views.clear();
        self.view(name, seen);
    }

    /// Everything that is wrong, at most [`FAULTS`] of it.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (name, view) in &self.views {
            self.check_order(name, view, &mut faults);
            self.check_holes(name, view, &mut faults);
            self.check_promises(name, view, &mut faults);
            self.check_origins(name, view, &mut faults);
        }
        self.check_agreement(&mut faults);
        faults.truncate(FAULTS);
        faults
    }

    /// Panics with the first faults.
    pub fn assert_clean(&self) {
        let faults = self.faults();
        let shown: Vec<String> = faults.iter().take(10).map(Fault::to_string).collect();
        assert!(faults.is_empty(), "{} faults, the first:\n{}", faults.len(), shown.join("\n"));
    }

    fn check_order(&self, name: &str, view: &[Seen], faults: &mut Vec<Fault>) {
        let mut positions = HashSet::new();
        let mut last = (0, 0);
        for seen in view {
            let view = name.to_owned();
            let position = (seen.epoch, seen.offset);
            if !positions.insert(position) {
                faults.push(Fault::Duplicated { view, seen: seen.clone() });
            } else if position < last {
                faults.push(Fault::Reordered { view, seen: seen.clone(), after: last });
            } else {
                last = position;
            }
        }
    }

    fn check_holes(&self, name: &str, view: &[Seen], faults: &mut Vec<Fault>) {
        let mut offsets: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for seen in view {
            offsets.entry(seen.epoch).or_default().push(seen.offset);
        }
        for (epoch, mut offsets) in offsets {
            offsets.sort_unstable();
            offsets.dedup();
            let mut after = 0;
            for before in offsets {
                if before != after + 1 {
                    faults.push(Fault::Hole { view: name.to_owned(), epoch, after, before });
                }
                after = before;
            }
        }
    }

    fn check_promises(&self, name: &str, view: &[Seen], faults: &mut Vec<Fault>) {
        let by_position: HashMap<(u32, u64), &Seen> =
            view.iter().map(|seen| ((seen.epoch, seen.offset), seen)).collect();
        for acked in &self.acked {
            let view = name.to_owned();
            match by_position.get(&(acked.epoch, acked.offset)) {
                None => faults.push(Fault::Lost { view, acked: acked.clone() }),
                Some(seen) if seen.sender != acked.sender || seen.text != acked.text => {
                    let found = (*seen).clone();
                    faults.push(Fault::Replaced { view, acked: acked.clone(), found });
                }
                Some(_) => {}
            }
        }
    }

    fn check_origins(&self, name: &str, view: &[Seen], faults: &mut Vec<Fault>) {
        let mut sent: HashMap<(&str, &str), usize> = HashMap::new();
        for (sender, texts) in &self.attempted {
            for (at, text) in texts.iter().enumerate() {
                sent.insert((sender, text), at);
            }
        }
        let mut stored: HashMap<(&str, &str), u64> = HashMap::new();
        let mut newest: HashMap<&str, usize> = HashMap::new();
        for seen in view {
            let key = (seen.sender.as_str(), seen.text.as_str());
            let view = name.to_owned();
            let Some(at) = sent.get(&key).copied() else {
                faults.push(Fault::Phantom { view, seen: seen.clone() });
                continue;
            };
            match stored.get(&key) {
                Some(earlier) if *earlier != seen.offset => faults.push(Fault::StoredTwice {
                    view,
                    seen: seen.clone(),
                    earlier_offset: *earlier,
                }),
                Some(_) => {}
                None => {
                    stored.insert(key, seen.offset);
                    self.check_sender_order(name, seen, at, &mut newest, faults);
                }
            }
        }
    }

    fn check_sender_order<'a>(
        &self,
        name: &str,
        seen: &'a Seen,
        at: usize,
        newest: &mut HashMap<&'a str, usize>,
        faults: &mut Vec<Fault>,
    ) {
        let last = newest.entry(&seen.sender).or_insert(at);
        if at < *last && self.keeps_sender_order {
            faults.push(Fault::SenderOrder {
                view: name.to_owned(),
                seen: seen.clone(),
                expected_text: self.attempted[&seen.sender][*last].clone(),
            });
        }
        *last = at.max(*last);
    }

    fn check_agreement(&self, faults: &mut Vec<Fault>) {
        let mut first: HashMap<(u32, u64), (&str, &Seen)> = HashMap::new();
        for (name, view) in &self.views {
            for seen in view {
                let (other_view, other) =
                    *first.entry((seen.epoch, seen.offset)).or_insert((name, seen));
                if other != seen {
                    faults.push(Fault::Divergent {
                        view: name.clone(),
                        seen: seen.clone(),
                        other_view: other_view.to_owned(),
                        other: other.clone(),
                    });
                }
            }
        }
    }
}

/// Enough to understand what happened.
const FAULTS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(offset: u64, text: &str) -> Seen {
        Seen { epoch: 1, offset, sender: "ana".into(), text: text.into() }
    }

    /// Three publications, acknowledged, seen by two views; then `plant` damages the second.
    fn with_planted(plant: impl FnOnce(&mut Vec<Seen>)) -> Vec<Fault> {
        let mut checker = Checker::new();
        let clean = vec![seen(1, "a"), seen(2, "b"), seen(3, "c")];
        for seen in &clean {
            checker.attempt(&seen.sender, &seen.text);
            checker.ack(Acked {
                epoch: seen.epoch,
                offset: seen.offset,
                sender: seen.sender.clone(),
                text: seen.text.clone(),
            });
        }
        let mut planted = clean.clone();
        plant(&mut planted);
        checker.view("clean", clean);
        checker.view("planted", planted);
        checker.faults()
    }

    #[track_caller]
    fn assert_found(faults: &[Fault], pick: impl Fn(&Fault) -> bool) {
        assert!(faults.iter().any(pick), "{faults:?}");
    }

    #[test]
    fn a_clean_run_has_no_faults() {
        assert_eq!(with_planted(|_| {}), []);
    }

    #[test]
    fn a_lost_publication_is_found() {
        let faults = with_planted(|view| {
            view.remove(2);
        });
        assert_eq!(faults.len(), 1);
        assert_found(&faults, |f| matches!(f, Fault::Lost { acked, .. } if acked.offset == 3));
        let faults = with_planted(|view| {
            view.remove(0);
        });
        assert_found(&faults, |f| matches!(f, Fault::Hole { after: 0, before: 2, .. }));
        assert_found(&faults, |f| matches!(f, Fault::Lost { .. }));
    }

    #[test]
    fn an_empty_view_has_lost_everything() {
        assert_eq!(with_planted(Vec::clear).len(), 3);
    }

    #[test]
    fn a_duplicate_is_found() {
        let faults = with_planted(|view| view.push(seen(3, "c")));
        assert_found(&faults, |f| matches!(f, Fault::Duplicated { .. }));
        let faults = with_planted(|view| view.push(seen(4, "c")));
        assert_found(&faults, |f| matches!(f, Fault::StoredTwice { earlier_offset: 3, .. }));
    }

    #[test]
    fn a_wrong_order_is_found() {
        let faults = with_planted(|view| view.swap(0, 1));
        assert_eq!(faults.len(), 2);
        assert_found(&faults, |f| matches!(f, Fault::Reordered { after: (1, 2), .. }));
        assert_found(&faults, |f| matches!(f, Fault::SenderOrder { .. }));
    }

    #[test]
    fn a_divergent_view_is_found() {
        let faults = with_planted(|view| {
            view[0].text = "b".into();
            view[1].text = "a".into();
        });
        assert_found(&faults, |f| matches!(f, Fault::Divergent { .. }));
        assert_found(&faults, |f| matches!(f, Fault::Replaced { .. }));
        assert_found(&faults, |f| matches!(f, Fault::SenderOrder { .. }));
    }

    #[test]
    fn a_phantom_is_found() {
        let faults = with_planted(|view| view.push(seen(4, "nobody wrote this")));
        assert_eq!(faults.len(), 1);
        assert_found(&faults, |f| matches!(f, Fault::Phantom { .. }));
    }

    #[test]
    #[should_panic(expected = "faults, the first")]
    fn assert_clean_panics_on_a_fault() {
        let mut checker = Checker::new();
        checker.view("v", vec![seen(1, "x")]);
        checker.assert_clean();
    }
}
