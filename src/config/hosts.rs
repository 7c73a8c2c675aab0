//! `--host`: addresses and names to listen on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// One host to listen on, and the addresses that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenHost {
    name: String,
    addresses: Vec<SocketAddr>,
}

/// Why a host cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A port behind the address.
    #[error("--host {host}: give the address alone, and the port with --port {port}")]
    WithPort {
        /// What was given.
        host: String,
        /// The port in it.
        port: u16,
    },
    /// No name and no address.
    #[error(
        "--host {0}: give an address such as 127.0.0.1 or 0.0.0.0, or a name of this machine such as localhost"
    )]
    Syntax(String),
    /// A name without addresses.
    #[error(
        "--host {host}: no address is known for this name ({source}); give an address such as 127.0.0.1 or 0.0.0.0"
    )]
    Unknown {
        /// The name.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// An empty list.
    #[error("--host: give an address such as 127.0.0.1")]
    None,
}

impl ListenHost {
    /// As it was written, without brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its addresses, at least one.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether only this machine reaches it.
    pub fn is_loopback(&self) -> bool {
        self.addresses
            .iter()
            .all(|address| address.ip().is_loopback())
    }
}

/// The hosts with their addresses; an address that several stand for belongs to the first of them.
pub(super) fn resolve(hosts: &[String], port: u16) -> Result<Vec<ListenHost>, HostError> {
    let mut found: Vec<ListenHost> = Vec::new();
    for host in hosts {
        let mut fresh = ListenHost {
            name: bare(host).to_owned(),
            addresses: Vec::new(),
        };
        for address in addresses(host, port)? {
            let is_known = |host: &ListenHost| host.addresses.contains(&address);
            if !found.iter().any(is_known) && !is_known(&fresh) {
                fresh.addresses.push(address);
            }
        }
        if !fresh.addresses.is_empty() {
            found.push(fresh);
        }
    }
    if found.is_empty() {
        return Err(HostError::None);
    }
    Ok(found)
}

/// Without the brackets that an IPv6 address has in a URL.
fn bare(host: &str) -> &str {
    let host = host.trim();
    host.strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(host)
}

fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, HostError> {
    let name = bare(host);
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if name.eq_ignore_ascii_case("localhost") {
        // Clients try both, whatever the hosts file of this machine says.
        let both = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ];
        return Ok(both.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    // An IPv6 address with a zone (fe80::1%eth0) is left to the system.
    if !name.contains('%') {
        if let Some((_, Ok(port))) = name.rsplit_once(':').map(|(h, p)| (h, p.parse())) {
            let host = host.to_owned();
            return Err(HostError::WithPort { host, port });
        }
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(HostError::Syntax(host.to_owned()));
        }
    }
    let unknown = |source| HostError::Unknown {
        host: host.to_owned(),
        source,
    };
    let found: Vec<SocketAddr> = (name, port).to_socket_addrs().map_err(unknown)?.collect();
    if found.is_empty() {
        return Err(unknown(io::ErrorKind::NotFound.into()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(hosts: &[&str]) -> Result<Vec<ListenHost>, HostError> {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        resolve(&hosts, 80)
    }

    #[test]
    fn names_and_addresses_stand_for_what_people_mean() {
        let addresses = |hosts: &[&str]| {
            let all = found(hosts).unwrap();
            let all = all.iter().flat_map(|host| host.addresses());
            all.map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(addresses(&["LocalHost"]), ["127.0.0.1:80", "[::1]:80"]);
        assert_eq!(addresses(&["[::1]"]), ["[::1]:80"]);
        assert_eq!(addresses(&["::"]), ["[::]:80"]);
        // The second stands for nothing new.
        assert_eq!(
            addresses(&["localhost", "127.0.0.1", "127.0.0.2"]),
            ["127.0.0.1:80", "[::1]:80", "127.0.0.2:80"]
        );
        assert!(found(&["localhost"]).unwrap()[0].is_loopback());
        assert!(!found(&["0.0.0.0"]).unwrap()[0].is_loopback());
    }

    #[test]
    fn what_is_no_host_is_refused_in_words() {
        for (host, words) in [
            ("127.0.0.1:9000", "--port 9000"),
            ("[::1]:9000", "--port 9000"),
            ("kiosk:80", "--port 80"),
            ("http://kiosk", "127.0.0.1"),
            ("a b", "127.0.0.1"),
            ("", "127.0.0.1"),
            ("no-such-name.invalid", "no address is known"),
        ] {
            let error = found(&[host]).unwrap_err().to_string();
            assert!(error.contains(words), "{host}: {error}");
        }
        assert!(matches!(found(&[]), Err(HostError::None)));
    }
}
