//! The head of a request, from bytes of any origin.

use std::borrow::Cow;

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The resource.
    Get,
    /// The head of its response only.
    Head,
    /// Anything else: answered with 405.
    Other,
}

/// A request's head.
#[derive(Clone, Debug)]
pub struct Head {
    /// What it wants.
    pub method: Method,
    /// Path and query as they came, without the server that an absolute target names before them.
    pub target: String,
    /// The x of HTTP/1.x.
    pub minor: u8,
    /// The server that an absolute target names.
    authority: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
}

/// Why bytes are no head. The client's fault; the connection ends after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP/1.x.
    #[error("this is not an HTTP/1.1 request: {0}")]
    Syntax(#[source] httparse::Error),
    /// More header lines than the limit.
    #[error("the request has more than {0} header lines (--max-head-lines)")]
    TooManyLines(usize),
    /// More bytes than the limit.
    #[error(
        "the head of the request is longer than {0} bytes. Cookies are the usual cause: browsers send those of every \
         program on this host, whatever its port. Delete the cookies of this host in the browser, or start the server \
         with a larger --max-head-bytes"
    )]
    TooLong(usize),
    /// A request with a body, which nothing here takes.
    #[error("the request has a body; nothing here takes one")]
    Body,
    /// `Content-Length` is no number, or there are several that differ.
    #[error("the request's Content-Length is no number, or is given twice with different numbers")]
    ContentLength,
    /// More than one `Host`.
    #[error("the request names more than one Host")]
    Hosts,
}

impl Head {
    /// Parses the head at the start of `bytes`: it and its length, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`HeadError`], as soon as it is certain.
    pub fn parse(
        bytes: &[u8],
        max_lines: usize,
        max_bytes: usize,
    ) -> Result<Option<(usize, Head)>, HeadError> {
        let mut lines = vec![httparse::EMPTY_HEADER; max_lines];
        let mut request = httparse::Request::new(&mut lines);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() >= max_bytes => {
                return Err(HeadError::TooLong(max_bytes));
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyLines(max_lines)),
            Err(error) => return Err(HeadError::Syntax(error)),
        };
        if length > max_bytes {
            return Err(HeadError::TooLong(max_bytes));
        }
        let method = match request.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            _ => Method::Other,
        };
        let (authority, target) = split_target(request.path.unwrap_or("/"));
        let head = Head {
            method,
            target: target.into_owned(),
            authority: authority.map(str::to_owned),
            minor: request.version.unwrap_or(0),
            headers: request
                .headers
                .iter()
                .map(|h| (h.name.to_ascii_lowercase(), h.value.to_vec()))
                .collect(),
        };
        if head.values("host").count() > 1 {
            return Err(HeadError::Hosts);
        }
        if head.has_body()? && method != Method::Other {
            return Err(HeadError::Body);
        }
        Ok(Some((length, head)))
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or("/")
    }

    /// Host and port that the client asked: those of an absolute target, or of the `Host` header.
    pub fn host(&self) -> Option<&str> {
        self.authority.as_deref().or_else(|| self.header("host"))
    }

    /// The first header of this name (lower case), if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.values(name).next()?)
            .ok()
            .map(str::trim)
    }

    /// The values of all headers of this name (lower case), as they came.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.headers.iter().filter(move |(key, _)| key == name);
        lines.map(|(_, value)| &**value)
    }

    /// Every header line, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The members of a comma-separated header, over all its lines.
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.values(name)
            .filter_map(|value| std::str::from_utf8(value).ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|member| !member.is_empty())
            .collect()
    }

    /// Whether this is a WebSocket handshake (right or not).
    pub fn is_upgrade(&self) -> bool {
        let websocket = |member: &&str| member.eq_ignore_ascii_case("websocket");
        self.method == Method::Get && self.list("upgrade").iter().any(websocket)
    }

    /// Whether the client keeps the connection for a further request.
    pub fn keeps_alive(&self) -> bool {
        let has = |word: &str| {
            self.list("connection")
                .iter()
                .any(|m| m.eq_ignore_ascii_case(word))
        };
        match self.minor {
            0 => has("keep-alive"),
            _ => !has("close"),
        }
    }

    /// Whether a body follows. Every length is looked at: whoever forwards the request may go by another than we do,
    /// and would take the body for the next request.
    fn has_body(&self) -> Result<bool, HeadError> {
        let mut length = None;
        for value in self.values("content-length") {
            for member in value.split(|byte| *byte == b',') {
                let digits = member.trim_ascii();
                if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                    return Err(HeadError::ContentLength);
                }
                let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
                let number = &digits[zeros..];
                if *length.get_or_insert(number) != number {
                    return Err(HeadError::ContentLength);
                }
            }
        }
        let chunked = self.values("transfer-encoding").next().is_some();
        Ok(chunked || length.is_some_and(|number| !number.is_empty()))
    }
}

/// The server that a request target names, if it does (`GET http://host/path`, as it is sent to proxies and allowed to
/// everyone), and the path and query.
fn split_target(target: &str) -> (Option<&str>, Cow<'_, str>) {
    let absolute = target.split_once("://").filter(|(scheme, _)| {
        ["http", "https", "ws", "wss"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
    });
    let Some((_, rest)) = absolute else {
        return (None, target.into());
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if path.starts_with('/') {
        (Some(authority), path.into())
    } else {
        (Some(authority), format!("/{path}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] =
        b"GET /models?x=1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
        Upgrade: WebSocket\r\nSec-WebSocket-Protocol: lipsync.v2, lipsync.v1\r\n\r\nrest";

    #[test]
    fn a_head_is_the_same_at_every_split_point() {
        for split in 0..GET.len() - 4 {
            assert!(
                Head::parse(&GET[..split], 8, 1000).unwrap().is_none(),
                "{split}"
            );
        }
        let (length, head) = Head::parse(GET, 8, 1000).unwrap().unwrap();
        assert_eq!(&GET[length..], b"rest");
        assert_eq!(
            (head.method, head.path(), head.minor),
            (Method::Get, "/models", 1)
        );
        assert_eq!(
            head.list("sec-websocket-protocol"),
            ["lipsync.v2", "lipsync.v1"]
        );
        assert!(head.is_upgrade() && head.keeps_alive());
    }

    #[test]
    fn limits_are_errors() {
        let head = |lines, bytes| Head::parse(GET, lines, bytes).unwrap_err();
        assert_eq!(head(2, 1000), HeadError::TooManyLines(2));
        assert_eq!(head(8, 50), HeadError::TooLong(50));
        let endless = [b'a'; 600];
        assert_eq!(
            Head::parse(&endless, 8, 512).unwrap_err(),
            HeadError::TooLong(512)
        );
        let body = b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(Head::parse(body, 8, 512).unwrap_err(), HeadError::Body);
        assert!(matches!(
            Head::parse(b"\x16\x03\x01\0", 8, 512),
            Err(HeadError::Syntax(_))
        ));
    }

    #[test]
    fn every_content_length_counts() {
        let parse = |headers: &str| {
            let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
            Head::parse(bytes.as_bytes(), 16, 1000).map(|head| head.is_some())
        };
        assert_eq!(parse("Content-Length: 0\r\n"), Ok(true));
        assert_eq!(
            parse("Content-Length: 0\r\ncontent-length: 00, 0\r\n"),
            Ok(true)
        );
        for (headers, error) in [
            ("Content-Length: 44\r\n", HeadError::Body),
            (
                "Content-Length: 44\r\nContent-Length: 44\r\n",
                HeadError::Body,
            ),
            (
                "Content-Length: 0\r\nContent-Length: 44\r\n",
                HeadError::ContentLength,
            ),
            ("Content-Length: 0, 44\r\n", HeadError::ContentLength),
            ("Content-Length: +0\r\n", HeadError::ContentLength),
            ("Content-Length: x\r\n", HeadError::ContentLength),
            ("Content-Length:\r\n", HeadError::ContentLength),
            ("Content-Length: \u{e4}\r\n", HeadError::ContentLength),
            ("Transfer-Encoding: chunked\r\n", HeadError::Body),
            ("Transfer-Encoding: \u{e4}\r\n", HeadError::Body),
            ("Host: b\r\n", HeadError::Hosts),
        ] {
            assert_eq!(parse(headers), Err(error), "{headers}");
        }
    }

    #[test]
    fn an_absolute_target_is_its_path() {
        for (target, path, host) in [
            ("/a?b", "/a", "h"),
            ("http://kiosk:1/a?b", "/a", "kiosk:1"),
            ("HTTP://kiosk", "/", "kiosk"),
            ("ws://kiosk?x", "/", "kiosk"),
            ("ftp://kiosk/a", "ftp://kiosk/a", "h"),
        ] {
            let bytes = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            let (_, head) = Head::parse(bytes.as_bytes(), 16, 1000).unwrap().unwrap();
            assert_eq!((head.path(), head.host()), (path, Some(host)), "{target}");
        }
    }
}
