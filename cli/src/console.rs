//! The operators' console: a page about the cluster, on the HTTP surface of every node that does not
//! switch it off (`http.console`). Its files come from `console/`, bundled into `console/dist`; what it
//! shows it asks of the API like any other caller, with the key that its operator brings. Only
//! `sterna dev` hands it a key, and only to browsers on this machine.

use serde_json::json;
use sterna_edge::http::{Audience, Content, HttpConfig, Page};

use crate::try_it;

/// Where the page is.
pub(crate) const PATH: &str = "/console/";

const FILES: [(&str, &str, &[u8]); 3] = [
    ("", "text/html; charset=utf-8", include_bytes!("../../console/dist/console/index.html")),
    (
        "console.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../console/dist/console/console.js"),
    ),
    (
        "console.css",
        "text/css; charset=utf-8",
        include_bytes!("../../console/dist/console/console.css"),
    ),
];

/// Puts the page on the HTTP surface; whoever opens it has to bring a key.
pub(crate) fn add_to(http: &mut HttpConfig) {
    add_with(http, Content::Fixed(b"{}"), Audience::Anybody);
}

/// As [`add_to`], with a key for browsers on this machine and the way to the try-it page.
pub(crate) fn add_to_dev(http: &mut HttpConfig, key: &str) {
    let node = json!({ "key": key, "tryIt": try_it::PATH }).to_string().into_bytes();
    let make = move |_| node.clone();
    add_with(http, Content::Made(std::sync::Arc::new(make)), Audience::ThisMachine);
}

fn add_with(http: &mut HttpConfig, node: Content, audience: Audience) {
    http.pages.extend(FILES.map(|(name, content_type, bytes)| Page {
        path: format!("{PATH}{name}"),
        content_type,
        content: Content::Fixed(bytes),
        audience: Audience::Anybody,
    }));
    http.pages.push(Page {
        path: format!("{PATH}node.json"),
        content_type: "application/json",
        content: node,
        audience,
    });
    http.pages.push(Page {
        path: PATH.trim_end_matches('/').to_owned(),
        content_type: "text/plain",
        content: Content::Elsewhere("console/"),
        audience: Audience::Anybody,
    });
}
