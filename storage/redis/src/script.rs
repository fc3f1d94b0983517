//! The Lua scripts: each one atomic step in one slot. They check all arguments before they write
//! anything, since Redis does not undo what a failing script has done.

use std::sync::LazyLock;

use redis::Cmd;

/// A script with its hash, by which servers know it.
#[derive(Debug)]
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    pub(crate) fn by_hash(&self, keys: &[&[u8]], arguments: &[&[u8]]) -> Cmd {
        invocation("EVALSHA", &self.hash, keys, arguments)
    }

    pub(crate) fn by_text(&self, keys: &[&[u8]], arguments: &[&[u8]]) -> Cmd {
        invocation("EVAL", self.text, keys, arguments)
    }
}

fn invocation(verb: &str, script: &str, keys: &[&[u8]], arguments: &[&[u8]]) -> Cmd {
    let mut command = redis::cmd(verb);
    command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
    command
}

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(
            pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
                Script::new(concat!(
                    include_str!("scripts/prelude.lua"),
                    include_str!(concat!("scripts/", $file))
                ))
            });
        )*

        /// All of them, for tests of what they refuse.
        #[cfg(test)]
        pub(crate) fn all() -> Vec<(&'static str, &'static Script)> {
            vec![$(($file, &*$name)),*]
        }
    };
}

scripts! {
    ROUTE_PUT = "route_put.lua";
    ROUTE_REMOVE = "route_remove.lua";
    ROUTE_READ = "route_read.lua";
    SESSION_PUT = "session_put.lua";
    SESSION_REMOVE = "session_remove.lua";
    EDGE_BEAT = "edge_beat.lua";
    EDGE_DROP = "edge_drop.lua";
    DELTA_APPEND = "delta_append.lua";
    DELTA_READ = "delta_read.lua";
    RATE_TAKE = "rate_take.lua";
    KEY_BEGIN = "key_begin.lua";
    KEY_FINISH = "key_finish.lua";
    KEY_ABANDON = "key_abandon.lua";
    FLOOR_RAISE = "floor_raise.lua";
    PAGE_KEEP = "page_keep.lua";
}
