//! The head of a request, from bytes of any origin.

use std::fmt;

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
    /// Path and query as they came.
    pub target: String,
    /// The x of HTTP/1.x.
    pub minor: u8,
    headers: Vec<(String, Vec<u8>)>,
}

/// Why bytes are no head. The client's fault; the connection ends after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Not HTTP/1.x.
    Syntax(httparse::Error),
    /// More header lines than the limit.
    TooManyLines(usize),
    /// More bytes than the limit.
    TooLong(usize),
    /// A request with a body, which nothing here takes.
    Body,
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
        let head = Head {
            method,
            target: request.path.unwrap_or("/").to_owned(),
            minor: request.version.unwrap_or(0),
            headers: request
                .headers
                .iter()
                .map(|h| (h.name.to_ascii_lowercase(), h.value.to_vec()))
                .collect(),
        };
        if method != Method::Other && head.has_body() {
            return Err(HeadError::Body);
        }
        Ok(Some((length, head)))
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or("/")
    }

    /// The first header of this name (lower case), if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        std::str::from_utf8(value).ok().map(str::trim)
    }

    /// Every header line, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The members of a comma-separated header, over all its lines.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.iter().filter(|(key, _)| key == name);
        lines
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
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

    fn has_body(&self) -> bool {
        let length = self.header("content-length");
        length.is_some_and(|length| length != "0") || self.header("transfer-encoding").is_some()
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadError::Syntax(error) => write!(f, "this is not an HTTP/1.1 request: {error}"),
            HeadError::TooManyLines(limit) => {
                write!(f, "the request has more than {limit} header lines")
            }
            HeadError::TooLong(limit) => {
                write!(f, "the head of the request is longer than {limit} bytes")
            }
            HeadError::Body => write!(f, "the request has a body; nothing here takes one"),
        }
    }
}

impl std::error::Error for HeadError {}

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
}
