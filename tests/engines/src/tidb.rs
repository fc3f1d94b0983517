//! TiDB in MariaDB's place, for whoever has its server: a single process with its own store, which
//! is all that its SQL needs. Built from its Go module, outside this repository; see CONTRIBUTING.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The server that [`VARIABLE`] names.
pub(crate) fn program() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).map(PathBuf::from)
}

/// What it is started with; everything that it writes lies at `at`.
pub(crate) fn arguments(at: &Path, address: Ipv4Addr, port: u16) -> Vec<String> {
    let file = |name: &str| at.join(name).display().to_string();
    let arguments = [
        ("-store", "unistore".to_owned()),
        ("-path", file("data")),
        ("-host", address.to_string()),
        ("-P", port.to_string()),
        ("-socket", file("socket")),
        ("-log-file", file("log")),
        // By itself it lies in the folder from which the server was started.
        ("-log-slow-query", file("slow.log")),
    ];
    let both = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    both.chain(["-report-status=false".to_owned()]).collect()
}

/// Path of a `tidb-server`.
const VARIABLE: &str = "STERNA_TIDB";
