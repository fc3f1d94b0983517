//! Binds the sockets of all workers: on one port number a UDP and a TCP socket each, in
//! SO_REUSEPORT groups, in the order of the workers, because the steering program picks by order.
//! A group is built once and never shrinks while it serves.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::EdgeError;
use crate::steer::{self, Steering};

/// The sockets of one worker, not yet part of a runtime.
#[derive(Debug)]
pub(crate) struct WorkerSockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
}

/// Binds `workers` pairs of sockets. Port 0 picks one that is free for UDP and TCP. The address's
/// family is taken as it is: quinn takes an IPv4 client on a dual-stack socket for one that has
/// changed more than its port whenever its NAT rebinds.
pub(crate) fn bind(
    address: SocketAddr,
    steering: &Steering,
) -> Result<Vec<WorkerSockets>, EdgeError> {
    let address = free_address(address)?;
    let bind = || -> io::Result<Vec<WorkerSockets>> {
        let sockets = (0..steering.workers())
            .map(|_| Ok(WorkerSockets { udp: udp(address)?, tcp: tcp(address)? }))
            .collect::<io::Result<Vec<WorkerSockets>>>()?;
        steer::attach(&sockets[0].udp, &steering.program())?;
        Ok(sockets)
    };
    bind().map_err(|source| EdgeError::Bind { address, source })
}

/// Makes sure that nobody has the port: a process of the same user would be let into the group of
/// another one without a word, and packets would be split between the two.
fn free_address(wanted: SocketAddr) -> Result<SocketAddr, EdgeError> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORT_ATTEMPTS {
        match probe(wanted) {
            Ok(address) => return Ok(address),
            Err(error) => last = error,
        }
        if wanted.port() != 0 {
            break;
        }
    }
    Err(EdgeError::Bind { address: wanted, source: explain(last) })
}

fn probe(wanted: SocketAddr) -> io::Result<SocketAddr> {
    let udp = Socket::new(Domain::for_address(wanted), Type::DGRAM, Some(Protocol::UDP))?;
    set_family(&udp, wanted)?;
    udp.bind(&wanted.into())?;
    let address = udp.local_addr()?.as_socket().unwrap_or(wanted);
    let tcp = Socket::new(Domain::for_address(wanted), Type::STREAM, Some(Protocol::TCP))?;
    set_family(&tcp, wanted)?;
    // Connections of a predecessor that linger in TIME_WAIT do not hold the port; a listener does.
    tcp.set_reuse_address(true)?;
    tcp.bind(&address.into())?;
    Ok(address)
}

fn explain(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::AddrInUse {
        return error;
    }
    io::Error::new(
        error.kind(),
        "another process uses this port (UDP or TCP); stop it or choose another client_address",
    )
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    set_family(&socket, address)?;
    socket.set_reuse_port(true)?;
    // The kernel grants what its own limits allow.
    socket.set_recv_buffer_size(UDP_BUFFER_BYTES)?;
    socket.set_send_buffer_size(UDP_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    set_family(&socket, address)?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(TCP_BACKLOG)?;
    Ok(socket.into())
}

fn set_family(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() { socket.set_only_v6(true) } else { Ok(()) }
}

/// How often port 0 is tried until a number is free on UDP and TCP.
const PORT_ATTEMPTS: usize = 32;

/// Bursts of 1,000 packets and more arrive between two turns of a worker.
const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Connections that the kernel has accepted and a worker has not.
const TCP_BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::{ConnectionIds, IdFormat};
    use quinn_proto::ConnectionIdGenerator as _;
    use std::time::Duration;

    #[test]
    fn packets_reach_the_socket_that_their_connection_id_names() {
        let format = IdFormat::of_node(9, [3; 16]);
        let steering = steering(4);
        let sockets = bind("127.0.0.1:0".parse().unwrap(), &steering).unwrap();
        let address = sockets[0].udp.local_addr().unwrap();
        for turn in 0..100u8 {
            // A new port every time, as after a NAT rebinding.
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            let worker = turn % 4;
            let id = ConnectionIds::new(format.clone(), steering, worker).generate_cid();
            let mut packet = if turn % 8 < 4 { vec![0x40] } else { vec![0xe0, 0, 0, 0, 1, 17] };
            packet.extend_from_slice(&id);
            packet.push(turn);
            client.send_to(&packet, address).unwrap();
            assert_eq!(receive(&sockets[usize::from(worker)].udp), packet);
        }
    }

    #[test]
    fn a_datagram_too_short_for_a_header_is_delivered() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), &steering(4)).unwrap();
        let address = sockets[0].udp.local_addr().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for first in [0x40, 0xc0] {
            client.send_to(&[first], address).unwrap();
            assert_eq!(receive(&sockets[0].udp), [first]);
        }
    }

    #[test]
    fn a_second_edge_on_the_port_is_refused_with_an_explanation() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), &steering(2)).unwrap();
        let address = sockets[0].udp.local_addr().unwrap();
        assert_eq!(sockets[1].tcp.local_addr().unwrap(), address);
        let error = bind(address, &steering(2)).unwrap_err().to_string();
        assert!(error.contains("another process uses this port"), "{error}");
        drop(sockets);
        bind(address, &steering(2)).unwrap();
    }

    #[test]
    fn a_port_that_only_tcp_has_taken_is_refused() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(bind(taken.local_addr().unwrap(), &steering(1)).is_err());
    }

    fn steering(workers: u8) -> Steering {
        IdFormat::of_node(9, [3; 16]).steering(workers, *b"steering")
    }

    fn receive(socket: &UdpSocket) -> Vec<u8> {
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 2000];
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }
}
