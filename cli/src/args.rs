//! Verbs and flags. Shapes are a promise: scripts depend on them.

mod activity;
mod archive;
mod backup;
mod bench;
mod keeping;
mod operate;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use sterna_client::Position;
use sterna_proto::{ChannelId, NodeId, UserId};

pub(crate) use activity::ActivityArg;
pub(crate) use archive::{ArchiveArgs, ArchiveOf, ArchiveRestoreArgs, ArchiveVerb, ExportArgs};
pub(crate) use backup::{
    BackupArgs, BackupCreateArgs, BackupListArgs, BackupPushArgs, BackupRestoreArgs, BackupVerb,
    BackupVerifyArgs, PlaceArgs,
};
pub(crate) use bench::{BenchArgs, BenchSubject, HandoverArgs, TravellerArgs};
pub(crate) use keeping::{
    EraseArgs, KeyArgs, OwnRetention, RedactArgs, RetentionArgs, Switch, SwitchArgs,
};
pub(crate) use operate::{
    DrainArgs, OperatorArgs, RevokeArgs, SessionArgs, SortArg, TopArgs, TraceArgs,
};

/// Real-time messaging gateway: durable, ordered channels over QUIC and WebSocket.
#[derive(Debug, Parser)]
#[command(name = "sterna", version, about, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a node for development: no configuration, keys and store in a local directory
    Dev(DevArgs),
    /// Run a node from a configuration file
    Serve(ServeArgs),
    /// Check a configuration without binding or changing anything; exit code 0 or 1
    ///
    /// `sterna doctor --config` also looks at what it meets on this machine.
    Check(ConfigArgs),
    /// Bring the tables of a SQL store up to date, and end
    Migrate(ConfigArgs),
    /// Old publications: what lies in the archive, archive now, read all of it again, export
    Archive(ArchiveArgs),
    /// Copies of a node's store: make one while it runs, check it, keep it elsewhere, put it back
    Backup(BackupArgs),
    /// Print an access token
    Token(TokenArgs),
    /// Make an authority for the links of a cluster, or the certificate of a node
    Certificate(CertificateArgs),
    /// Publish text, or one publication a line with --stdin
    Pub(PubArgs),
    /// Receive a channel and print each publication
    Sub(SubArgs),
    /// Print what a channel holds
    History(HistoryArgs),
    /// Print who is in a channel
    Presence(PresenceArgs),
    /// Print what is unread in the channels of the user
    Inbox(InboxArgs),
    /// Find out what is wrong, and how to put it right
    Doctor(DoctorArgs),
    /// Watch a cluster: its nodes, their sessions and rates, what lags and what waits
    ///
    /// Any node knows of all; sessions and channels are those of the node that is asked. Without a
    /// terminal, or with --once, the view is printed and not drawn.
    Top(TopArgs),
    /// Show one session of a node: what it is subscribed to, and where its client has been
    Session(SessionArgs),
    /// Follow the next publication of a channel through a node, step by step
    ///
    /// Waits a minute for it. A node tells of its own steps: ask the edge of a publisher, the owner of
    /// the channel, or an edge with subscribers.
    Trace(TraceArgs),
    /// Ask a node to leave, and watch it: clients move, others take its channels, it ends
    ///
    /// The order is with the node as soon as the first line is there: Ctrl-C ends the watching and
    /// not the leaving. Exit code 0 when the node has left.
    Drain(DrainArgs),
    /// Void the tokens of a user that are out, and end the sessions made with them, at all nodes
    ///
    /// Nodes remember it as long as one of them runs; whoever issues tokens must not give this user
    /// another that is not meant.
    Revoke(RevokeArgs),
    /// How long publications of a channel stay; without a retention what the channel keeps, and what
    /// was ordered of it
    Retention(RetentionArgs),
    /// Put a channel on hold, or release it: nothing of it is given up meanwhile
    Hold(SwitchArgs),
    /// Have the archive seal the payloads of a channel, where marked channels are
    Seal(SwitchArgs),
    /// Take the payloads of publications away for good
    ///
    /// Their places stay, and who has them already is told to drop them.
    Redact(RedactArgs),
    /// Give up everything in a channel up to now, for good, and destroy its data key
    Erase(EraseArgs),
    /// Make a master key, for `archive.master_key_file`
    Key(KeyArgs),
    /// Measure a node the way its users feel it
    Bench(BenchArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DevArgs {
    /// Where keys and the store live; made if missing
    #[arg(long, default_value = ".sterna", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// IP address for clients, as in ::1
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "IP")]
    pub(crate) client_ip: IpAddr,
    /// UDP and TCP port for clients; 0 picks a free one
    #[arg(long, default_value_t = 4443, value_name = "PORT")]
    pub(crate) client_port: u16,
    /// TCP port of the HTTP API; 0 picks a free one
    #[arg(long, default_value_t = 4480, value_name = "PORT")]
    pub(crate) http_port: u16,
    /// Threads that serve clients and channels; default: one for each processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) workers: Option<u8>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// What to log, as in `info` or `sterna_edge=debug`
    #[arg(long, default_value = "warn", value_name = "FILTER")]
    pub(crate) log: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Override one key, as in `--set node.name=a`; wins over the environment and the file
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// How a node comes to its store.
#[derive(Debug, Clone, Copy, Default, ClapArgs)]
pub(crate) struct StoreArgs {
    /// How long to wait for a store that another process still holds, as a draining node does,
    /// before serving anybody; 0 refuses at once
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub(crate) wait_for_store: u64,
    /// The store was put back from a backup: give every channel a new epoch, so that clients notice
    /// what is missing. For the first start after restoring, and only for that
    #[arg(long)]
    pub(crate) restored: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TokenArgs {
    /// Whom the token names
    #[arg(long)]
    pub(crate) user: UserId,
    /// How long it is valid, as in 90s, 15m, 1h or 7d
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    pub(crate) ttl: Duration,
    /// A channel it opens, or a prefix with *; may be repeated. Default: all channels, all actions
    #[arg(long = "channel", value_name = "PATTERN")]
    pub(crate) channels: Vec<String>,
    /// Directory of the dev node
    #[arg(long, default_value = ".sterna", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Configuration of the node that is to believe it: its first HS256 key, with what the node wants
    /// tokens to say (`auth.audience`, `auth.issuer`)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["secret_file", "kid", "audience", "issuer"])]
    pub(crate) config: Option<PathBuf>,
    /// File with the HS256 secret to sign with, in place of the dev node's
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Key id to name in the token's header
    #[arg(long)]
    pub(crate) kid: Option<String>,
    /// Whom it is for, where the node has an `auth.audience`
    #[arg(long, value_name = "TEXT")]
    pub(crate) audience: Option<String>,
    /// Who issues it, where the node has an `auth.issuer`
    #[arg(long, value_name = "TEXT")]
    pub(crate) issuer: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CertificateArgs {
    #[command(subcommand)]
    pub(crate) of: CertificateOf,
    /// Print the files as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertificateOf {
    /// An authority that signs certificates of nodes
    Authority(AuthorityArgs),
    /// The certificate of one node, and its key
    Node(NodeCertificateArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct AuthorityArgs {
    /// Where authority.pem and authority.key go; made if missing. Keep the key off the nodes
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// How long it is valid
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    pub(crate) days: u64,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NodeCertificateArgs {
    /// Where the authority is
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Name of the cluster: nodes of another one are refused
    #[arg(long)]
    pub(crate) cluster: NodeId,
    /// Name of the node, as `node.name` has it
    #[arg(long)]
    pub(crate) name: NodeId,
    /// What the node may do: edge, core or both
    #[arg(long, value_delimiter = ',', default_values = ["edge", "core"], value_parser = ["edge", "core"])]
    pub(crate) roles: Vec<String>,
    /// How long it is valid
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    pub(crate) days: u64,
    /// Where NAME.pem and NAME.key go, in place of the authority's directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// How a client verb finds its node and who it is there.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ConnectArgs {
    /// Node to connect to; default: the dev node of --data-dir
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// PEM certificates to trust; default: the dev node's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Access token; default: one made with the dev node's secret
    #[arg(long, value_name = "JWT", conflicts_with = "user")]
    pub(crate) token: Option<String>,
    /// Whom the made token names
    #[arg(long, default_value = "dev")]
    pub(crate) user: UserId,
    /// Directory of the dev node
    #[arg(long, default_value = ".sterna", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Transport to use
    #[arg(long, value_enum, default_value_t = TransportArg::Auto)]
    pub(crate) transport: TransportArg,
    /// How long to wait for the node before giving up
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportArg {
    /// QUIC first, WebSocket beside it
    Auto,
    Quic,
    Wss,
}

impl TransportArg {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Quic => "quic",
            Self::Wss => "wss",
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PubArgs {
    pub(crate) channel: ChannelId,
    /// What to publish
    #[arg(required_unless_present = "stdin", conflicts_with = "stdin")]
    pub(crate) text: Option<String>,
    /// Publish each line of standard input
    #[arg(long)]
    pub(crate) stdin: bool,
    /// One JSON object a publication, in the order of the input
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SubArgs {
    pub(crate) channel: ChannelId,
    /// Where to start: earliest, latest, or after EPOCH:OFFSET
    #[arg(long, default_value = "latest", value_parser = parse_from)]
    pub(crate) from: FromArg,
    /// End after this many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// How closely to follow the channel
    #[arg(long, value_enum, default_value = "active")]
    pub(crate) activity: ActivityArg,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct HistoryArgs {
    pub(crate) channel: ChannelId,
    /// Where to start: earliest, or after EPOCH:OFFSET
    #[arg(long, default_value = "earliest", value_parser = parse_history_from)]
    pub(crate) from: FromArg,
    /// Most publications to print
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// One JSON object a publication
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PresenceArgs {
    pub(crate) channel: ChannelId,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InboxArgs {
    /// Go on, and print what changes
    #[arg(long)]
    pub(crate) live: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DoctorArgs {
    /// Examine what a node with this configuration needs, in place of the dev node: directories,
    /// addresses, limits, certificate, keys
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server", "ca", "token"])]
    pub(crate) config: Option<PathBuf>,
    /// Override one key of it, as in `--set node.name=a`
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "config")]
    pub(crate) overrides: Vec<String>,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Where reading starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromArg {
    Earliest,
    Latest,
    After(Position),
}

fn parse_from(text: &str) -> Result<FromArg, String> {
    match text {
        "earliest" => Ok(FromArg::Earliest),
        "latest" => Ok(FromArg::Latest),
        _ => text
            .parse()
            .map(FromArg::After)
            .map_err(|error| format!("neither earliest nor latest, and {error}")),
    }
}

fn parse_history_from(text: &str) -> Result<FromArg, String> {
    match parse_from(text)? {
        FromArg::Latest => Err("nothing follows the latest; use earliest or EPOCH:OFFSET".into()),
        from => Ok(from),
    }
}

/// A whole number with a unit: ms, s, m, h or d.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = || {
        format!("`{text}` is not a duration; write a whole number and ms, s, m, h or d, as in 10s")
    };
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
    let count: u64 = text[..split].parse().map_err(|_| refuse())?;
    let unit_ms: u64 = match &text[split..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refuse()),
    };
    count.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn promised_shapes_parse() {
        for line in [
            "sterna dev",
            "sterna dev --data-dir .sterna --client-port 0 --http-port 0 --workers 4",
            "sterna dev --wait-for-store 30",
            "sterna dev --restored",
            "sterna serve --config sterna.toml",
            "sterna serve --config sterna.toml --set node.name=a --wait-for-store 30 --restored",
            "sterna check --config sterna.toml --set node.name=a",
            "sterna token --user alice --ttl 1h --channel room:* --channel lobby",
            "sterna pub room:1 hello",
            "sterna pub room:1 --stdin --transport wss --json",
            "sterna sub room:1 --from earliest --count 3 --transport quic --json",
            "sterna sub room:1 --activity background --count 1",
            "sterna sub room:1 --from 7:42 --server 127.0.0.1:4443 --ca ca.pem --token t",
            "sterna history room:1 --from 1:5 --limit 10 --json --user bob",
            "sterna presence room:1 --json --data-dir d",
            "sterna inbox --user bob",
            "sterna inbox --live --json --transport wss --data-dir d",
            "sterna doctor --json",
            "sterna doctor --config sterna.toml --set node.name=a",
            "sterna drain --successor host:4443 --deadline 10s",
            "sterna drain --url http://10.0.0.1:4480 --api-key-file key --no-wait --json",
            "sterna drain --http 10.0.0.1:4480",
            "sterna top",
            "sterna top --once --json --url 10.0.0.1:4480 --most 50",
            "sterna top --interval 500ms --sort deliveries --filter eu-west",
            "sterna bench handover --json --switches 2 --delay-ms 25 --rate 200",
            "sterna bench handover --server 127.0.0.1:4443 --data-dir d",
            "sterna bench handover --netns",
            "sterna bench publish --clients 8 --in-flight 2 --durability os --directory d --json",
            "sterna bench latency --only raw-quic,sterna-quic --rate 100 --seconds 1 --rounds 1",
            "sterna bench handshake --concurrent 8 --report page.html",
            "sterna bench storm --clients 4000 --room 1000",
            "sterna bench scale --sessions-steps 1000,10000,15000",
            "sterna bench load --peak 2400 --lifetime 5s",
            "sterna bench restart --database mysql://u:p@h/d --cores 3 --edges 2 --rounds 2 --json",
            "sterna bench restart --channels 4 --rate 50 --report page.html",
        ] {
            Args::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "sterna",
            "sterna pub room:1",
            "sterna pub room:1 text --stdin",
            "sterna sub room:1 --from sometime",
            "sterna sub room:1 --count 0",
            "sterna history room:1 --from latest",
            "sterna dev --workers 33",
            "sterna token",
            "sterna token --user al/ice",
            "sterna top --most 201",
            "sterna top --sort beauty",
            "sterna bench",
            "sterna bench handover --switches 0",
            "sterna bench handover --netns --server 127.0.0.1:4443",
        ] {
            assert!(Args::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in ["", "5", "s", "1.5s", "-1s", "5 s", "99999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
