//! Lines as people write them, from a seed: several languages, emoji, and lengths distributed as in
//! real chats (most of some ten words, a few of a paragraph, now and then a pasted page).

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// An endless supply of different lines of one writer.
#[derive(Debug)]
pub struct Writer {
    name: String,
    rng: StdRng,
    written: u64,
}

impl Writer {
    pub fn new(name: &str, seed: u64) -> Self {
        Self { name: name.to_owned(), rng: StdRng::seed_from_u64(seed), written: 0 }
    }

    /// The next line. Holds a number so that no two are alike; never a line break.
    pub fn next_line(&mut self) -> String {
        self.written += 1;
        let bytes = self.line_bytes();
        let language = *WORDS.choose(&mut self.rng).unwrap_or(&WORDS[0]);
        let mut line = format!("{} {}:", self.name, self.written);
        while line.len() < bytes {
            line.push(' ');
            line.push_str(language.choose(&mut self.rng).copied().unwrap_or("…"));
        }
        if self.rng.random_bool(0.2) {
            line.push(' ');
            line.push_str(EMOJI.choose(&mut self.rng).copied().unwrap_or("🙂"));
        }
        line
    }

    /// Log-normal around 45 bytes; one line in 500 is a pasted page.
    fn line_bytes(&mut self) -> usize {
        if self.rng.random_bool(0.002) {
            return self.rng.random_range(4_000..12_000);
        }
        let normal: f64 = (0..12).map(|_| self.rng.random::<f64>()).sum::<f64>() - 6.0;
        (45.0 * (0.9 * normal).exp()).clamp(8.0, 2_000.0) as usize
    }
}

const EMOJI: &[&str] = &["😂", "❤️", "👍🏽", "👩‍👩‍👧‍👦", "🇯🇵", "🎉", "🤷🏻‍♀️", "✅"];

const WORDS: &[&[&str]] = &[
    &["see", "you", "at", "eight", "then", "I", "think", "it's", "the", "blue", "one", "ok", "lol"],
    &["dann", "müssen", "wir", "über", "Straße", "gehen", "schöne", "Grüße", "ja", "vielleicht"],
    &["¿qué", "mañana", "también", "está", "señor", "el", "niño", "corazón", "sí", "claro"],
    &["это", "хорошо", "завтра", "посмотрим", "ёлка", "привет", "как", "дела"],
    &["今天", "天气", "很好", "我们", "去", "吃饭", "吧", "好的"],
    &["ありがとう", "ございます", "明日", "テスト", "です", "よろしく"],
    &["مرحبا", "كيف", "الحال", "غدا", "إن", "شاء", "الله"],
    &["שלום", "מה", "נשמע", "תודה", "רבה"],
    &["नमस्ते", "कैसे", "हैं", "आप", "धन्यवाद", "क्षत्रिय"],
    &["สวัสดี", "ครับ", "ขอบคุณ", "มาก"],
    &["안녕하세요", "감사합니다", "내일", "봐요"],
    &["zażółć", "gęślą", "jaźń", "e\u{301}te\u{301}", "a\u{30a}", "ﬁn", "\u{200f}rtl\u{200e}"],
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn lines_are_different_single_and_realistic() {
        let mut writer = Writer::new("ana", 1);
        let lines: Vec<String> = (0..5000).map(|_| writer.next_line()).collect();
        assert_eq!(lines.iter().collect::<HashSet<_>>().len(), lines.len());
        assert!(lines.iter().all(|line| !line.contains(['\n', '\r']) && line.len() < 16_000));
        let mut sizes: Vec<usize> = lines.iter().map(String::len).collect();
        sizes.sort_unstable();
        assert!((30..90).contains(&sizes[2500]), "median {}", sizes[2500]);
        assert!(*sizes.last().unwrap() > 4000);
        assert!(lines.iter().any(|line| !line.is_ascii()));
    }

    #[test]
    fn the_seed_decides() {
        let line = |seed| {
            let mut writer = Writer::new("ana", seed);
            (0..20).map(|_| writer.next_line()).collect::<Vec<_>>()
        };
        assert_eq!(line(3), line(3));
        assert_ne!(line(3), line(4));
    }
}
