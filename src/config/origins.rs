//! Web origins: what a browser says a page is from, and the patterns of `--allow-origin`.

use std::fmt;
use std::str::FromStr;

/// The origin of a page (RFC 6454), in one form: lower case, with the port that its scheme implies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A page without an origin: from a file, or in a sandbox.
    Null,
    /// `file://`, as some programs send it.
    File,
    /// Of a server.
    Server {
        /// `https`, …
        scheme: String,
        /// A name or an address, IPv6 in brackets.
        host: String,
        /// Written, or implied by the scheme; `None` where the scheme implies none.
        port: Option<u16>,
    },
}

/// Which origins are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// `*`: all of them.
    Any,
    /// This one.
    Exact(Origin),
    /// `scheme://*.domain[:port]`: every host below the domain, not the domain itself.
    Subdomains {
        /// `https`, …
        scheme: String,
        /// With its leading dot.
        domain: String,
        /// As in [`Origin::Server`].
        port: Option<u16>,
    },
}

/// A pattern that no page's origin can match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--allow-origin {text}: {fault}")]
pub struct OriginError {
    /// What was given.
    text: String,
    fault: OriginFault,
}

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OriginFault {
    NoScheme,
    WebSocketScheme,
    Path,
    Host,
    Port,
    Wildcard,
}

impl fmt::Display for OriginFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OriginFault::NoScheme => {
                "an origin begins with its scheme: give scheme://host or scheme://host:port, such as https://kiosk.example"
            }
            OriginFault::WebSocketScheme => {
                "an origin is that of the page, not of the WebSocket: begin it with http:// or https://"
            }
            OriginFault::Path => {
                "an origin has no path: give scheme://host or scheme://host:port, such as https://kiosk.example"
            }
            OriginFault::Host => {
                "this is no host name: give letters, digits, dots and hyphens (names in other letters in their form xn--…), an IPv4 address, or an IPv6 address in brackets"
            }
            OriginFault::Port => "the port is a number from 1 to 65535",
            OriginFault::Wildcard => {
                "* stands for all origins, or for the whole first part of a name, as in https://*.shop.example"
            }
        })
    }
}

impl Origin {
    /// Reads an `Origin` header. `None`: nothing that a browser sends.
    pub fn parse(text: &str) -> Option<Origin> {
        match text.parse() {
            Ok(OriginPattern::Exact(origin)) => Some(origin),
            _ => None,
        }
    }

    /// Whether this is the origin of a page that came from `authority`, the host and port of a request.
    pub fn is_from(&self, authority: &str) -> bool {
        let Origin::Server { scheme, host, port } = self else {
            return false;
        };
        split_port(authority).is_ok_and(|(other, other_port)| {
            host.eq_ignore_ascii_case(other) && *port == other_port.or(default_port(scheme))
        })
    }

    /// Whether it is a page of this machine's own: `localhost`, a name below it, or a loopback address.
    pub fn is_loopback(&self) -> bool {
        match self {
            Origin::Server { host, .. } => is_loopback_host(host),
            Origin::Null | Origin::File => false,
        }
    }
}

/// Whether a host, IPv6 in brackets, always means the machine itself.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let name = host.strip_suffix('.').unwrap_or(&host);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || name.ends_with(".localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

impl OriginPattern {
    /// Whether pages of `origin` are let in.
    pub fn matches(&self, origin: &Origin) -> bool {
        match self {
            OriginPattern::Any => true,
            OriginPattern::Exact(exact) => exact == origin,
            OriginPattern::Subdomains {
                scheme,
                domain,
                port,
            } => match origin {
                Origin::Server {
                    scheme: other,
                    host,
                    port: other_port,
                } => {
                    let below = host.strip_suffix(domain).is_some_and(|sub| !sub.is_empty());
                    scheme == other && below && port == other_port
                }
                Origin::Null | Origin::File => false,
            },
        }
    }
}

impl FromStr for OriginPattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        parse(text.trim()).map_err(|fault| OriginError {
            text: text.to_owned(),
            fault,
        })
    }
}

fn parse(text: &str) -> Result<OriginPattern, OriginFault> {
    let text = text.to_lowercase();
    match &*text {
        "*" => return Ok(OriginPattern::Any),
        "null" => return Ok(OriginPattern::Exact(Origin::Null)),
        "file://" | "file:///" => return Ok(OriginPattern::Exact(Origin::File)),
        _ => {}
    }
    let (scheme, rest) = text.split_once("://").ok_or(OriginFault::NoScheme)?;
    let mut letters = scheme.chars();
    if !letters.next().is_some_and(|c| c.is_ascii_lowercase())
        || !letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    {
        return Err(OriginFault::NoScheme);
    }
    if matches!(scheme, "ws" | "wss") {
        return Err(OriginFault::WebSocketScheme);
    }
    // Addresses are often copied with their last slash.
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) || scheme == "file" {
        return Err(OriginFault::Path);
    }
    let (host, port) = split_port(authority)?;
    let port = port.or(default_port(scheme));
    let scheme = scheme.to_owned();
    if let Some(domain) = host.strip_prefix('*') {
        let name = domain.strip_prefix('.').ok_or(OriginFault::Wildcard)?;
        if name.contains('*') {
            return Err(OriginFault::Wildcard);
        }
        check_host(name)?;
        let domain = domain.to_owned();
        return Ok(OriginPattern::Subdomains {
            scheme,
            domain,
            port,
        });
    }
    if host.contains('*') {
        return Err(OriginFault::Wildcard);
    }
    check_host(host)?;
    let host = host.to_owned();
    Ok(OriginPattern::Exact(Origin::Server { scheme, host, port }))
}

/// Host and port of an authority; an IPv6 address keeps its brackets.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), OriginFault> {
    let bracket = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[bracket..].find(':') {
        None if bracket > 0 && bracket < authority.len() => Err(OriginFault::Host),
        None => Ok((authority, None)),
        Some(at) => {
            let (host, port) = authority.split_at(bracket + at);
            let port = &port[1..];
            if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(OriginFault::Port);
            }
            match port.parse() {
                Ok(port) if port > 0 => Ok((host, Some(port))),
                _ => Err(OriginFault::Port),
            }
        }
    }
}

fn check_host(host: &str) -> Result<(), OriginFault> {
    let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let label = |part: &str| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            };
            host.strip_suffix('.').unwrap_or(host).split('.').all(label)
        }
    };
    if good { Ok(()) } else { Err(OriginFault::Host) }
}

/// The port that browsers leave out of an origin.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, origin: &str) -> bool {
        let pattern: OriginPattern = pattern.parse().unwrap();
        Origin::parse(origin).is_some_and(|origin| pattern.matches(&origin))
    }

    #[test]
    fn patterns_match_what_browsers_and_programs_send() {
        for (pattern, origin) in [
            ("*", "https://any.example"),
            ("*", "null"),
            ("null", "null"),
            ("file://", "file://"),
            ("https://shop.example", "https://shop.example"),
            ("https://shop.example/", "https://shop.example"),
            ("https://shop.example:443", "https://shop.example"),
            ("https://shop.example", "https://shop.example:443"),
            ("HTTPS://Shop.Example:443", "https://shop.example"),
            ("http://kiosk:8080", "http://kiosk:8080"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://*.shop.example", "https://a.shop.example"),
            ("https://*.shop.example", "https://a.b.shop.example:443"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert!(matches(pattern, origin), "{pattern} {origin}");
        }
        for (pattern, origin) in [
            ("https://shop.example", "http://shop.example"),
            ("https://shop.example", "https://shop.example:8443"),
            ("https://shop.example", "https://evilshop.example"),
            ("https://*.shop.example", "https://shop.example"),
            ("https://*.shop.example", "https://evilshop.example"),
            ("https://*.shop.example", "https://shop.example.evil.test"),
            ("https://*.shop.example", "http://a.shop.example"),
            ("https://shop.example", "null"),
            ("null", "file://"),
            (
                "https://shop.example",
                "https://shop.example https://evil.test",
            ),
            ("*", "https://*.shop.example"),
        ] {
            assert!(!matches(pattern, origin), "{pattern} {origin}");
        }
    }

    #[test]
    fn what_can_never_match_is_refused_in_words() {
        for (pattern, words) in [
            ("shop.example", "begins with its scheme"),
            ("", "begins with its scheme"),
            ("https://shop.example/page", "no path"),
            ("https://shop.example?x", "no path"),
            ("file:///home/kiosk.html", "no path"),
            ("wss://shop.example", "not of the WebSocket"),
            ("https://", "no host name"),
            ("https://a b", "no host name"),
            ("https://user@shop.example", "no host name"),
            ("https://bücher.example", "xn--"),
            ("https://::1", "port"),
            ("https://shop.example:", "port"),
            ("https://shop.example:99999", "port"),
            ("https://shop.*", "stands for"),
            ("https://*", "stands for"),
            ("https://*shop.example", "stands for"),
            ("https://*.*.example", "stands for"),
            ("https://*.", "no host name"),
        ] {
            let error = pattern.parse::<OriginPattern>().unwrap_err().to_string();
            assert!(error.contains(words), "{pattern}: {error}");
            assert!(error.contains("--allow-origin"), "{error}");
        }
    }

    #[test]
    fn a_page_is_known_by_the_host_that_it_came_from() {
        for (origin, host, from) in [
            ("http://kiosk:8765", "kiosk:8765", true),
            ("http://Kiosk:8765", "KIOSK:8765", true),
            ("https://kiosk.example", "kiosk.example", true),
            ("https://kiosk.example", "kiosk.example:443", true),
            ("http://[::1]:8765", "[::1]:8765", true),
            ("http://kiosk:8765", "kiosk", false),
            ("http://kiosk", "kiosk:8765", false),
            ("null", "kiosk", false),
            ("http://evil.test", "kiosk", false),
        ] {
            let parsed = Origin::parse(origin).unwrap();
            assert_eq!(parsed.is_from(host), from, "{origin} {host}");
        }
    }

    #[test]
    fn loopback_has_many_names() {
        for (origin, loopback) in [
            ("http://localhost:3000", true),
            ("https://app.localhost", true),
            ("http://127.1.2.3", true),
            ("http://[::1]:5173", true),
            ("http://localhost.evil.test", false),
            ("http://192.168.0.1", false),
            ("null", false),
        ] {
            assert_eq!(
                Origin::parse(origin).unwrap().is_loopback(),
                loopback,
                "{origin}"
            );
        }
    }
}
