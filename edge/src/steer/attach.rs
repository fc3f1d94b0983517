//! Gives the steering program to the kernel: the one place of the edge that needs `unsafe`,
//! because no library wraps `SO_ATTACH_REUSEPORT_CBPF`. Needs no privilege. The program belongs to
//! the whole group of sockets and picks by the order in which they were bound.

#![allow(unsafe_code)]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use super::program::{Instruction, Program};

/// Attaches `program` to the reuseport group of `socket`.
pub(crate) fn attach(socket: &UdpSocket, program: &Program) -> io::Result<()> {
    let mut filters = program.map(sock_filter);
    let len = u16::try_from(filters.len())
        .unwrap_or_else(|_| unreachable!("the program has a fixed, small size"));
    let fprog = libc::sock_fprog { len, filter: filters.as_mut_ptr() };
    // SAFETY: the descriptor is open because `socket` is borrowed. `fprog` is the struct that the
    // option takes and its size is given. It points to `filters`, which holds `len` instructions
    // and lives until after the call; the kernel copies them and keeps no pointer (it returns an
    // error for a program that it cannot verify).
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const fprog).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn sock_filter(instruction: Instruction) -> libc::sock_filter {
    libc::sock_filter {
        code: instruction.code,
        jt: instruction.if_true,
        jf: instruction.if_false,
        k: instruction.operand,
    }
}
