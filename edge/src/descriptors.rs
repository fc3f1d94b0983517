//! Keeps file descriptors for the store: connections take none of the last ones that the process
//! may have. A store that cannot begin its next log has failed for good, and the node with it, so
//! whoever opens connections enough must not come that far.

use std::os::fd::AsRawFd;
use std::sync::OnceLock;

/// Whether a connection that was accepted may stay. The kernel gives the lowest number that is
/// free: one below those that are kept shows that they are.
pub(crate) fn leave_room(connection: &impl AsRawFd) -> bool {
    static FIRST_KEPT: OnceLock<i32> = OnceLock::new();
    let first_kept = FIRST_KEPT.get_or_init(|| {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        first_kept(&limits)
    });
    connection.as_raw_fd() < *first_kept
}

/// By the limit that the kernel tells of; where it tells of none, none is kept.
fn first_kept(limits: &str) -> i32 {
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = open_files.and_then(|line| line.split_whitespace().next()?.parse::<i32>().ok());
    soft.map_or(i32::MAX, |soft| soft - (soft / 4).min(MOST_KEPT))
}

/// Of a smaller limit, a quarter.
const MOST_KEPT: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_kept_and_no_more_than_a_store_needs() {
        let limits = |soft: &str| {
            format!(
                "Limit   Soft Limit  Hard Limit  Units\nMax open files   {soft}  4096   files\n"
            )
        };
        assert_eq!(first_kept(&limits("400")), 300);
        assert_eq!(first_kept(&limits("1024")), 768);
        assert_eq!(first_kept(&limits("65536")), 64_512);
        assert_eq!(first_kept(&limits("unlimited")), i32::MAX);
        assert_eq!(first_kept(""), i32::MAX);
    }

    #[test]
    fn the_kernel_of_this_machine_tells_its_limit() {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        assert!(first_kept(&limits) > 0);
        assert!(limits.contains("unlimited") || first_kept(&limits) < i32::MAX);
        assert!(leave_room(&std::io::stdin()));
    }
}
