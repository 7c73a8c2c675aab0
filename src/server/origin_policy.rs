//! Which pages may open a WebSocket: the server's own, those of this machine, and those that were named.

use crate::config::{Config, Origin, OriginPattern, is_loopback_host};
use crate::transport::http::Head;

/// Longest part of a client's origin or host that is repeated in an answer or in the log, in characters.
const MAX_SHOWN: usize = 200;

/// Who is let in.
pub struct OriginPolicy {
    /// `--allow-origin`.
    allowed: Vec<OriginPattern>,
    /// Whether only this machine can connect.
    loopback: bool,
    /// Whether clients may change what is served: then a page is not taken for the server's own by a name that any
    /// attacker can point at this machine (DNS rebinding).
    guarded: bool,
    /// The port that is listened on.
    port: u16,
}

/// A page that is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "pages of {origin} may not connect to this server, which was asked for as {host}. If they may, start it with \
     --allow-origin {flag}; if this is its own page behind a reverse proxy, let the proxy pass the page's host on \
     (nginx: proxy_set_header Host $http_host)"
)]
pub struct OriginRefused {
    /// As it came.
    pub origin: String,
    host: String,
    flag: String,
}

impl OriginPolicy {
    /// The policy of a server that listens on `port` and otherwise as configured.
    pub fn new(config: &Config, port: u16) -> OriginPolicy {
        OriginPolicy {
            allowed: config.origins().to_vec(),
            loopback: config.is_loopback(),
            guarded: config.allow_load(),
            port,
        }
    }

    /// Lets a handshake in or refuses it. Programs send no origin and are let in; browsers always do, and no page can
    /// make them lie.
    ///
    /// # Errors
    /// [`OriginRefused`] says what to do if the page should be let in.
    pub fn check(&self, head: &Head) -> Result<(), OriginRefused> {
        let mut origins = head.values("origin");
        let Some(first) = origins.next() else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(first);
        let text = text.trim();
        let host = head.host().unwrap_or_default();
        let parsed = Origin::parse(text);
        let single = origins.next().is_none();
        match &parsed {
            Some(origin) if single && self.allows(origin, host) => Ok(()),
            _ => Err(OriginRefused {
                origin: shown(text),
                host: if host.is_empty() {
                    "nothing (no Host header)".to_owned()
                } else {
                    shown(host)
                },
                // What is no origin cannot be allowed by name either.
                flag: match parsed {
                    Some(_) => shown(text),
                    None => "'*'".to_owned(),
                },
            }),
        }
    }

    fn allows(&self, origin: &Origin, host: &str) -> bool {
        (self.loopback && origin.is_loopback())
            || self.is_own_page(origin, host)
            || self.allowed.iter().any(|pattern| pattern.matches(origin))
    }

    fn is_own_page(&self, origin: &Origin, host: &str) -> bool {
        let Origin::Server {
            host: name, port, ..
        } = origin
        else {
            return false;
        };
        // A page that came straight to our port by a name, where only this machine's own names lead here.
        let rebound =
            self.guarded && self.loopback && *port == Some(self.port) && !is_loopback_host(name);
        origin.is_from(host) && !rebound
    }
}

/// Text of a client as it may stand in an answer or in the log: bounded, and without control characters.
fn shown(text: &str) -> String {
    text.chars()
        .take(MAX_SHOWN)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    fn policy(change: impl FnOnce(&mut Options)) -> OriginPolicy {
        let mut options = Options {
            models_dir: "src".into(),
            ..Options::default()
        };
        change(&mut options);
        OriginPolicy::new(&Config::new(options).unwrap(), 8765)
    }

    fn check(policy: &OriginPolicy, headers: &str) -> Result<(), OriginRefused> {
        let bytes = format!("GET /ws HTTP/1.1\r\n{headers}\r\n\r\n");
        let (_, head) = Head::parse(bytes.as_bytes(), 16, 1000).unwrap().unwrap();
        policy.check(&head)
    }

    #[test]
    fn own_pages_and_programs_are_always_let_in_and_others_by_the_list() {
        let local = policy(|_| {});
        let listed = policy(|o| o.origins = vec!["https://shop.example".into()]);
        let open = policy(|o| o.hosts = vec!["0.0.0.0".into()]);
        for (headers, on_local, on_listed, on_open) in [
            ("Host: localhost:8765", true, true, true),
            (
                "Host: localhost:8765\r\nOrigin: http://localhost:8765",
                true,
                true,
                true,
            ),
            (
                "Host: kiosk.example\r\nOrigin: https://kiosk.example",
                true,
                true,
                true,
            ),
            (
                "Host: 127.0.0.1:8765\r\nOrigin: http://localhost:3000",
                true,
                true,
                false,
            ),
            (
                "Host: 127.0.0.1:8765\r\nOrigin: https://shop.example",
                false,
                true,
                false,
            ),
            (
                "Host: 127.0.0.1:8765\r\nOrigin: https://evil.test",
                false,
                false,
                false,
            ),
            ("Host: 127.0.0.1:8765\r\nOrigin: null", false, false, false),
            (
                "Host: 127.0.0.1:8765\r\nOrigin: \u{fffd}",
                false,
                false,
                false,
            ),
            (
                "Host: a\r\nOrigin: http://a\r\nOrigin: http://a",
                false,
                false,
                false,
            ),
            // A proxy that puts its own name for the server in place of the page's.
            (
                "Host: 10.0.0.5:8765\r\nOrigin: https://kiosk.example",
                false,
                false,
                false,
            ),
            ("Origin: http://kiosk", false, false, false),
        ] {
            for (policy, expected) in [(&local, on_local), (&listed, on_listed), (&open, on_open)] {
                assert_eq!(check(policy, headers).is_ok(), expected, "{headers:?}");
            }
        }
    }

    #[test]
    fn a_refusal_names_the_flag_and_the_proxy() {
        let refused = check(&policy(|_| {}), "Host: a:1\r\nOrigin: https://b.example");
        let text = refused.unwrap_err().to_string();
        for words in [
            "--allow-origin https://b.example",
            "asked for as a:1",
            "proxy_set_header Host",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_name_that_anybody_can_point_here_may_not_load_packages() {
        let guarded = policy(|o| o.allow_load = true);
        let rebound = "Host: evil.test:8765\r\nOrigin: http://evil.test:8765";
        assert!(check(&guarded, rebound).is_err());
        let own = "Host: localhost:8765\r\nOrigin: http://localhost:8765";
        assert!(check(&guarded, own).is_ok());
        let proxied = "Host: kiosk.example\r\nOrigin: https://kiosk.example";
        assert!(check(&guarded, proxied).is_ok());
        assert!(check(&policy(|_| {}), rebound).is_ok());
    }
}
