//! A whole response: status, headers, body.

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;

/// What a browser may do with a page of this server: run, style and fetch what the server itself
/// sends, and nothing inline.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; \
    connect-src 'self' ws: wss:; worker-src 'self' blob:; media-src 'self' blob:; \
    style-src 'self'; script-src 'self'; object-src 'none'; base-uri 'self'; form-action 'none'";

/// A response that is ready to be sent.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Content-Type`; empty for none.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Bytes,
    /// Whether pages of other sites may show this page in a frame.
    pub allow_framing: bool,
}

impl Response {
    /// A response with a body.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response {
        Response {
            status,
            content_type,
            headers: Vec::new(),
            body: body.into(),
            allow_framing: false,
        }
    }

    /// A line of text for people; a line end is added.
    pub fn text(status: u16, line: impl std::fmt::Display) -> Response {
        let mut response = Response::new(status, "text/plain; charset=utf-8", format!("{line}\n"));
        response.headers.push(("Cache-Control", "no-store".into()));
        response
    }

    /// A JSON document that changes, so that nobody may keep it.
    pub fn json(status: u16, value: &serde_json::Value) -> Response {
        let mut response = Response::new(status, "application/json", value.to_string());
        response.headers.push(("Cache-Control", "no-store".into()));
        response
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds `ETag` and `Cache-Control`, and turns into 304 without a body if the client's
    /// `If-None-Match` names the tag.
    pub fn cached(
        mut self,
        tag: &str,
        control: &'static str,
        if_none_match: Option<&str>,
    ) -> Response {
        let tag = format!("\"{tag}\"");
        let known = if_none_match.is_some_and(|list| {
            list.split(',')
                .map(|m| m.trim().trim_start_matches("W/"))
                .any(|m| m == tag || m == "*")
        });
        if known {
            self.status = 304;
            self.content_type = "";
            self.body = Bytes::new();
        }
        self.with("ETag", tag).with("Cache-Control", control)
    }

    /// Status line and headers, ready to be sent before the body.
    pub(in crate::transport) fn head(&self, keep_alive: bool, now: SystemTime) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\nServer: lipsyncd\r\nX-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\nConnection: {}\r\n",
            self.status,
            reason(self.status),
            // The crate knows no date before 1970.
            httpdate::fmt_http_date(now.max(SystemTime::UNIX_EPOCH)),
            if keep_alive { "keep-alive" } else { "close" },
        );
        if self.content_type.starts_with("text/html") {
            head.push_str("Content-Security-Policy: ");
            head.push_str(CONTENT_SECURITY_POLICY);
            head.push_str(if self.allow_framing {
                "; frame-ancestors *"
            } else {
                "; frame-ancestors 'self'"
            });
            head.push_str(
                "\r\nPermissions-Policy: microphone=(self), camera=(), geolocation=()\r\n",
            );
        }
        if !self.content_type.is_empty() {
            head.push_str(&format!("Content-Type: {}\r\n", self.content_type));
        }
        // A 304 carries no length: it would be taken for that of the resource.
        if self.status != 304 {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_tag_is_not_sent_again() {
        let response = || Response::new(200, "image/jpeg", &b"abc"[..]);
        assert_eq!(response().cached("t", "max-age=1", None).status, 200);
        let same = response().cached("t", "max-age=1", Some("\"x\", W/\"t\""));
        assert_eq!((same.status, same.body.len()), (304, 0));
        let head = String::from_utf8(same.head(true, SystemTime::UNIX_EPOCH)).unwrap();
        assert!(head.contains("ETag: \"t\"\r\n") && !head.contains("Content-Length"));
    }

    #[test]
    fn pages_carry_a_policy_and_everything_forbids_guessing_types() {
        let head = |r: Response| String::from_utf8(r.head(false, SystemTime::UNIX_EPOCH)).unwrap();
        let page = head(Response::new(200, "text/html; charset=utf-8", "x"));
        assert!(page.contains("Content-Security-Policy: default-src 'self'"));
        assert!(page.contains("X-Content-Type-Options: nosniff"));
        let text = head(Response::text(404, "nothing here"));
        assert!(!text.contains("Content-Security-Policy"));
        assert!(text.ends_with("Content-Length: 13\r\nCache-Control: no-store\r\n\r\n"));
    }
}
