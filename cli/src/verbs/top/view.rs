//! The view of `sterna top` as lines of text. Pure: the same lines are drawn and printed.

use super::model::{Cluster, Inspection, Node};
use super::table::{Column, Line, Piece, Table, Tone, piece};
use crate::output::printable;

/// A clock that is further off than this makes trouble: ids and tokens are judged by it.
const CLOCK_OFF_MS: i64 = 500;

/// A queue that is fuller than this is about to refuse.
const QUEUE_SHARE: f64 = 0.5;

/// A database that takes longer than this for one row holds publications up.
const DATABASE_MS: f64 = 100.0;

/// What is shown, from top to bottom.
pub(super) fn lines(cluster: &Cluster, inspection: &Inspection, width: usize) -> Vec<Line> {
    let mut lines = vec![headline(cluster), totals(cluster)];
    lines.extend(at_hand(cluster));
    lines.push(Line::new());
    lines.extend(nodes(cluster).lines(width));
    section(&mut lines, &format!("sessions of {}", cluster.node), sessions(inspection), width);
    section(&mut lines, &format!("channels of {}", cluster.node), channels(inspection), width);
    lines.push(Line::new());
    lines.push(queues(cluster, inspection));
    lines
}

fn section(lines: &mut Vec<Line>, title: &str, table: Option<Table>, width: usize) {
    lines.push(Line::new());
    match table {
        Some(table) => {
            lines.push(vec![piece(title, Tone::Title)]);
            lines.extend(table.lines(width));
        }
        None => {
            lines.push(vec![piece(title, Tone::Title), piece("  none is busy", Tone::Faint)]);
        }
    }
}

fn headline(cluster: &Cluster) -> Line {
    let seconds = cluster.unix_ms / 1000 % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut line = vec![
        piece("sterna top", Tone::Title),
        piece(format!("  as {} sees it", cluster.node), Tone::Plain),
        piece(format!("  {hours:02}:{minutes:02}:{:02} UTC  ", seconds % 60), Tone::Faint),
        piece(
            match cluster.nodes.len() {
                1 => "1 node".to_owned(),
                nodes => format!("{nodes} nodes"),
            },
            Tone::Plain,
        ),
    ];
    for state in ["serving", "draining", "silent", "gone"] {
        let count = cluster.count(state);
        if count > 0 {
            line.push(piece(format!("  {count} {state}"), tone_of(state)));
        }
    }
    line
}

fn tone_of(state: &str) -> Tone {
    match state {
        "serving" => Tone::Good,
        "draining" => Tone::Warn,
        "silent" => Tone::Bad,
        _ => Tone::Faint,
    }
}

fn totals(cluster: &Cluster) -> Line {
    let sum = |of: fn(&Node) -> u64| cluster.sum(|node| of(node) as f64) as u64;
    let behind = sum(|node| node.sessions.behind);
    vec![
        piece(
            format!(
                "{} sessions ({} quic, {} webtransport, {} wss, {} http), {} detached, ",
                count(sum(|node| node.sessions.attached())),
                count(sum(|node| node.sessions.quic)),
                count(sum(|node| node.sessions.webtransport)),
                count(sum(|node| node.sessions.wss)),
                count(sum(|node| node.sessions.http)),
                count(sum(|node| node.sessions.detached)),
            ),
            Tone::Plain,
        ),
        piece(format!("{} behind", count(behind)), above(behind as f64, 0.0)),
        piece(
            format!(
                "  {} publications/s  {} deliveries/s  {} conflicts  {} resumes  {} path changes",
                rate(cluster.sum(|node| node.publications_per_second)),
                rate(cluster.sum(|node| node.deliveries_per_second)),
                count(sum(|node| node.conflicts)),
                count(sum(|node| node.resumes)),
                count(sum(|node| node.path_changes)),
            ),
            Tone::Plain,
        ),
    ]
}

/// Places from the nearest to the farthest, as `lookups` names them and as they are shown.
const PLACES: &[(&str, &str)] = &[
    ("edge_ring", "edge rings"),
    ("owner_ring", "owner rings"),
    ("shared_reads", "shared reads"),
    ("local_pages", "pages on disk"),
    ("redis_pages", "pages in Redis"),
    ("archive_index", "archive index"),
];

/// How much of what was read was found where it was looked for; nothing where nothing was read.
fn at_hand(cluster: &Cluster) -> Option<Line> {
    let found = PLACES.iter().filter_map(|(place, shown)| {
        let lookups = cluster.lookups(place);
        let all = lookups.hits.saturating_add(lookups.misses);
        let text = format!("  {shown} {:.0}% of {}", lookups.share()? * 100.0, count(all));
        Some(piece(text, Tone::Plain))
    });
    let line: Line = std::iter::once(piece("found in", Tone::Plain)).chain(found).collect();
    (line.len() > 1).then_some(line)
}

const NODES: &[Column] = &[
    Column::left("NODE", 0),
    Column::left("STATE", 1),
    Column::left("ROLES", 6),
    Column::left("REGION", 9),
    Column::left("ZONE", 14),
    Column::left("RELEASE", 10),
    Column::right("UP", 11),
    Column::right("QUIC", 4),
    Column::right("WT", 9),
    Column::right("WSS", 4),
    Column::right("HTTP", 9),
    Column::right("DETACHED", 13),
    Column::right("BEHIND", 5),
    Column::right("PUB/S", 2),
    Column::right("DELIV/S", 3),
    Column::right("SLOTS", 7),
    Column::right("P50 MS", 12),
    Column::right("P99 MS", 5),
    Column::right("DB MS", 8),
    Column::left("REDIS", 12),
    Column::right("QUEUE", 10),
    Column::right("CLOCK", 15),
];

fn nodes(cluster: &Cluster) -> Table {
    let mut table = Table::new(NODES);
    for node in &cluster.nodes {
        // What a silent node said last is no news.
        let tone = if node.is_alive() { Tone::Plain } else { Tone::Faint };
        let plain = |text: String| piece(text, tone);
        let sessions = &node.sessions;
        let queue = node.fullest_queue.as_ref();
        let share = queue.map_or(0.0, |queue| queue.depth as f64 / queue.bound.max(1) as f64);
        let off = node.clock_ahead_ms.unwrap_or(0);
        table.row(vec![
            piece(printable(&node.name), tone),
            piece(state(node), tone_of(&node.state)),
            plain(node.roles.join(",")),
            plain(printable(&node.region)),
            plain(printable(&node.zone)),
            plain(printable(&node.release)),
            plain(time(node.up_s)),
            plain(count(sessions.quic)),
            plain(count(sessions.webtransport)),
            plain(count(sessions.wss)),
            plain(count(sessions.http)),
            plain(count(sessions.detached)),
            piece(count(sessions.behind), above(sessions.behind as f64, 0.0)),
            plain(rate(node.publications_per_second)),
            plain(rate(node.deliveries_per_second)),
            plain(count(node.slots)),
            plain(ms(node.append_p50_ms)),
            plain(ms(node.append_p99_ms)),
            database(node),
            redis(node),
            piece(format!("{:.0}%", share * 100.0), above(share, QUEUE_SHARE)),
            piece(format!("{off:+} ms"), above(off.abs() as f64, CLOCK_OFF_MS as f64)),
        ]);
    }
    table
}

fn database(node: &Node) -> Piece {
    match node.database {
        None => piece("-", Tone::Faint),
        Some(it) if it.healthy => piece(ms(it.answer_ms), above(it.answer_ms, DATABASE_MS)),
        Some(_) => piece("no answer", Tone::Bad),
    }
}

/// Nobody waits for it, so its silence is no more than a warning.
fn redis(node: &Node) -> Piece {
    match node.redis {
        None => piece("-", Tone::Faint),
        Some(it) if it.healthy => piece("ok", Tone::Plain),
        Some(it) => piece(format!("silent {}", time(it.silent_s)), Tone::Warn),
    }
}

fn state(node: &Node) -> String {
    match node.state.as_str() {
        "silent" => format!("silent {}", time(node.heard_ms_ago / 1000)),
        state => printable(state),
    }
}

const SESSIONS: &[Column] = &[
    Column::left("USER", 0),
    Column::left("CLIENT", 5),
    Column::left("TRANSPORT", 3),
    Column::left("REMOTE", 4),
    Column::right("CHANNELS", 6),
    Column::right("FRAMES/S", 1),
    Column::right("OUTBOX", 2),
    Column::right("KIB", 7),
    Column::left("", 1),
];

fn sessions(inspection: &Inspection) -> Option<Table> {
    let mut table = Table::new(SESSIONS);
    for session in &inspection.sessions {
        let plain = |text: String| piece(text, Tone::Plain);
        let keeps_up =
            if session.behind { piece("behind", Tone::Warn) } else { piece("", Tone::Plain) };
        table.row(vec![
            plain(printable(&session.user)),
            plain(printable(&session.client)),
            plain(printable(&session.transport)),
            plain(printable(&session.remote)),
            plain(count(session.subscriptions)),
            plain(rate(session.frames_per_second)),
            plain(count(session.outbox_frames)),
            plain(count(session.outbox_bytes / 1024)),
            keeps_up,
        ]);
    }
    (!inspection.sessions.is_empty()).then_some(table)
}

const CHANNELS: &[Column] = &[
    Column::left("CHANNEL", 0),
    Column::right("PUB/S", 1),
    Column::right("OFFSET", 2),
    Column::right("LINKS", 5),
    Column::right("PRESENT", 4),
    Column::right("WAITING", 3),
];

fn channels(inspection: &Inspection) -> Option<Table> {
    let mut table = Table::new(CHANNELS);
    for channel in &inspection.channels {
        let plain = |text: String| piece(text, Tone::Plain);
        table.row(vec![
            plain(printable(&channel.channel)),
            plain(rate(channel.publications_per_second)),
            plain(count(channel.offset)),
            plain(count(channel.links)),
            plain(count(channel.present)),
            piece(count(channel.pending), above(channel.pending as f64, 64.0)),
        ]);
    }
    (!inspection.channels.is_empty()).then_some(table)
}

/// Every queue of the node with something in it, against its bound.
fn queues(cluster: &Cluster, inspection: &Inspection) -> Line {
    let mut line = vec![piece(format!("queues of {}", cluster.node), Tone::Title)];
    for (name, queue) in &inspection.queues {
        if queue.depth > 0 {
            let share = queue.depth as f64 / queue.bound.max(1) as f64;
            let text = format!("  {name} {}/{}", count(queue.depth), count(queue.bound));
            line.push(piece(text, above(share, QUEUE_SHARE)));
        }
    }
    if line.len() == 1 {
        line.push(piece("  all empty", Tone::Faint));
    }
    line
}

fn above(value: f64, most: f64) -> Tone {
    if value > most { Tone::Warn } else { Tone::Plain }
}

/// 1,234,567.
fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// As short as it is useful.
fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1e6 => format!("{:.1}M", rate / 1e6),
        rate if rate >= 10_000.0 => format!("{:.1}k", rate / 1e3),
        rate if rate >= 10.0 || rate == 0.0 => format!("{rate:.0}"),
        rate => format!("{rate:.1}"),
    }
}

/// Milliseconds; `-` where nothing was measured.
fn ms(ms: f64) -> String {
    match ms {
        0.0 => "-".into(),
        ms if ms < 10.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

fn time(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m", seconds / 60),
        3600..=86_399 => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
