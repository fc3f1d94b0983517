//! What a node with clients needs of the kernel.

use super::{Finding, UDP_BUFFER, Verdict, machine};

/// Connections that wait to be accepted; as many as the listeners ask for.
const BACKLOG: u64 = 1024;

pub(super) fn examine() -> Vec<Finding> {
    vec![
        buffer("net.core.rmem_max"),
        buffer("net.core.wmem_max"),
        backlog(machine::kernel_number("net.core.somaxconn")),
        steering(),
    ]
}

/// Bounds of what a socket may ask for.
pub(super) fn buffer(setting: &'static str) -> Finding {
    match machine::kernel_number(setting) {
        Some(bytes) if bytes < UDP_BUFFER => Finding::bad(
            setting,
            Verdict::Warning,
            format!("{bytes} bytes"),
            "one UDP socket serves thousands of clients; a small buffer drops their bursts",
            format!("`sysctl -w {setting}={UDP_BUFFER}`, and in /etc/sysctl.d to keep it"),
        ),
        Some(bytes) => Finding::ok(setting, format!("{bytes} bytes")),
        None => Finding::ok(setting, "cannot be told here"),
    }
}

fn backlog(somaxconn: Option<u64>) -> Finding {
    let check = "net.core.somaxconn";
    match somaxconn {
        Some(most) if most < BACKLOG => Finding::bad(
            check,
            Verdict::Warning,
            format!("{most} connections"),
            "when many clients come back at once over TCP, the kernel turns them away",
            format!("`sysctl -w net.core.somaxconn={}`", BACKLOG * 4),
        ),
        Some(most) => Finding::ok(check, format!("{most} connections")),
        None => Finding::ok(check, "cannot be told here"),
    }
}

/// The real thing, on loopback.
fn steering() -> Finding {
    let check = "steering of packets";
    match sterna_edge::check_steering() {
        Ok(()) => Finding::ok(check, "the kernel takes the program"),
        Err(error) => Finding::bad(
            check,
            Verdict::Broken,
            error.to_string(),
            "a client whose address changes must find the thread that has its connection",
            "run on Linux 4.6 or newer, and allow SO_ATTACH_REUSEPORT_CBPF (seccomp, gVisor)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_backlog_is_found() {
        assert_eq!(backlog(Some(128)).verdict, Verdict::Warning);
        assert_eq!(backlog(Some(4096)).verdict, Verdict::Ok);
        assert_eq!(backlog(None).verdict, Verdict::Ok);
    }

    #[test]
    fn the_kernel_of_this_machine_steers() {
        assert_eq!(steering().verdict, Verdict::Ok);
    }
}
