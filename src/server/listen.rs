//! Listening on every address of the configuration.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::config::ListenHost;

/// Connections that wait to be accepted; the kernel's own limit (somaxconn) may be lower.
const BACKLOG: i32 = 1024;

/// How often other ports are tried where the system chose one that is taken on another of the addresses.
const PORT_ATTEMPTS: usize = 8;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", advice(source.kind()))]
pub struct ListenError {
    /// The address.
    address: SocketAddr,
    source: io::Error,
}

fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "; another program has this port, choose one with --port",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need privileges, choose one with --port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address, choose one with --host"
        }
        _ => "",
    }
}

/// Listens on all addresses. Where port 0 was asked for, all have the port that the system chose for the first.
///
/// Of the addresses of one name some may be missing on this machine (`localhost` where there is no IPv6).
///
/// # Errors
/// [`ListenError`]
pub(super) fn listen_on(hosts: &[ListenHost]) -> Result<Vec<TcpListener>, ListenError> {
    let mut attempt = 1;
    loop {
        match try_listen(hosts) {
            Err(error)
                if attempt < PORT_ATTEMPTS
                    && error.source.kind() == io::ErrorKind::AddrInUse
                    && hosts[0].addresses()[0].port() == 0 =>
            {
                attempt += 1;
            }
            done => return done,
        }
    }
}

fn try_listen(hosts: &[ListenHost]) -> Result<Vec<TcpListener>, ListenError> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut all = hosts.iter().flat_map(ListenHost::addresses);
    let has_ipv4 = all.any(SocketAddr::is_ipv4);
    let mut port = None;
    for host in hosts {
        let mut missing = None;
        let before = listeners.len();
        for address in host.addresses() {
            let mut address = *address;
            address.set_port(port.unwrap_or(address.port()));
            match open(address, has_ipv4) {
                Ok(listener) => {
                    port = listener.local_addr().ok().map(|address| address.port());
                    listeners.push(listener);
                }
                Err(source) if is_missing(&source) => {
                    missing = Some(ListenError { address, source });
                }
                Err(source) => return Err(ListenError { address, source }),
            }
        }
        if let Some(error) = missing {
            if listeners.len() == before {
                return Err(error);
            }
            log::info!("{}: {error}", host.name());
        }
    }
    Ok(listeners)
}

/// Whether the machine lacks this address, or its whole family.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn open(address: SocketAddr, has_ipv4: bool) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // `::` means all addresses of both families, unless those of IPv4 are named themselves.
        sockopt::set_ipv6_v6only(&socket, has_ipv4)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}
