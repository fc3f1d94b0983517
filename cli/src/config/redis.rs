//! Where a cluster keeps what it may lose (I6).

use sterna_storage_redis::RedisConfig;

use super::Reader;

impl Reader {
    /// Whether pages of history are kept there for a while.
    pub(super) fn pages_in_redis(&mut self) -> Option<bool> {
        match self.bool("redis.pages", false)? {
            true if self.texts("redis.urls").is_empty() => {
                self.refuse("redis.pages", "in which Redis? Name it in `redis.urls`")
            }
            pages => Some(pages),
        }
    }

    /// `Some(None)`: the node has no Redis and needs none.
    pub(super) fn redis(&mut self) -> Option<Option<RedisConfig>> {
        let urls = self.texts("redis.urls");
        if urls.is_empty() {
            return Some(None);
        }
        if self.text("cluster.address").is_none() {
            let reason = "a node that is alone keeps this in its memory; leave the key out, or make \
                          the node one of a cluster with `cluster.address`";
            return self.refuse("redis.urls", reason);
        }
        let is_tls = |url: &String| url.starts_with("rediss://");
        if urls.iter().any(|url| !is_tls(url) && !url.starts_with("redis://")) {
            let reason = "write redis://host:port for each server, rediss://host:port for TLS";
            return self.refuse("redis.urls", reason);
        }
        let is_cluster = self.bool("redis.cluster", false)?;
        if urls.len() > 1 && !is_cluster {
            let reason = "one server has one URL; of the nodes of a Redis Cluster say \
                          `redis.cluster = true`";
            return self.refuse("redis.urls", reason);
        }
        let mut redis = RedisConfig::new(String::new());
        if let Some(file) = self.path("redis.ca") {
            match std::fs::read(&file) {
                Ok(pem) if urls.iter().any(is_tls) => redis.tls_ca_pem = Some(pem),
                Ok(_) => {
                    let reason = "no URL begins with rediss://, so nobody is asked who signed";
                    return self.refuse("redis.ca", reason);
                }
                Err(error) => {
                    let reason = format!("{} cannot be read: {error}", file.display());
                    return self.refuse("redis.ca", reason);
                }
            }
        }
        (redis.urls, redis.cluster) = (urls, is_cluster);
        (redis.user, redis.password) = (self.text("redis.user"), self.text("redis.password"));
        redis.connect_timeout = self.duration("redis.connect_timeout", "1s", "50ms", "1m")?;
        redis.call_timeout = self.duration("redis.call_timeout", "1s", "50ms", "1m")?;
        redis.prefix = self.text("redis.prefix").unwrap_or(redis.prefix);
        if redis.prefix.contains(['{', '}']) {
            return self
                .refuse("redis.prefix", "without braces, which name the parts of a Cluster");
        }
        Some(Some(redis))
    }
}
