//! Which path means what: a pure function from path to [`Route`].

/// The page that `/` stands for.
const INDEX: &str = "index.html";

/// Everything that can be asked for by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// A file of the page, as a clean relative path (`index.html` for `/`).
    Asset(String),
    /// `/ws`: only as a WebSocket handshake (`/` takes one, too).
    WebSocket,
    /// `/models`.
    Models,
    /// `/models/NAME/metadata`.
    Metadata {
        /// The package.
        model: String,
    },
    /// `/models/NAME/frames/N.jpg`.
    Frame {
        /// The package.
        model: String,
        /// Index of the frame, from 0.
        frame: u32,
    },
    /// `/healthz`: the process answers.
    Health,
    /// `/readyz`: every package is loaded.
    Ready,
    /// `/stats`: JSON.
    Stats,
    /// `/metrics`: Prometheus text.
    Metrics,
    /// No such path.
    Unknown,
}

impl Route {
    /// Whether a WebSocket may be opened there: at `/ws`, and at the page's own address.
    pub(super) fn takes_websocket(&self) -> bool {
        match self {
            Route::WebSocket => true,
            Route::Asset(path) => path == INDEX,
            _ => false,
        }
    }

    /// The meaning of a path as it came in a request, percent-encoded and without a query.
    ///
    /// Nothing that could leave a folder gets through: no empty, hidden, `.` or `..` part, no
    /// backslash, no NUL, however it is encoded.
    pub(super) fn of(path: &str) -> Route {
        let Some(path) = decode(path) else {
            return Route::Unknown;
        };
        let Some(path) = path.strip_prefix('/') else {
            return Route::Unknown;
        };
        if path.is_empty() {
            return Route::Asset(INDEX.to_owned());
        }
        let parts: Vec<&str> = path.split('/').collect();
        if parts.iter().any(|part| !is_clean(part)) {
            return Route::Unknown;
        }
        match parts[..] {
            ["ws"] => Route::WebSocket,
            ["healthz"] => Route::Health,
            ["readyz"] => Route::Ready,
            ["stats"] => Route::Stats,
            ["metrics"] => Route::Metrics,
            ["models"] => Route::Models,
            ["models", model, "metadata"] => Route::Metadata {
                model: model.to_owned(),
            },
            ["models", model, "frames", file] => match frame_number(file) {
                Some(frame) => Route::Frame {
                    model: model.to_owned(),
                    frame,
                },
                None => Route::Unknown,
            },
            ["models", ..] => Route::Unknown,
            _ => Route::Asset(path.to_owned()),
        }
    }
}

/// `12.jpg` → 12. No sign, no leading zero: one frame has one address.
fn frame_number(file: &str) -> Option<u32> {
    let digits = file.strip_suffix(".jpg")?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

fn is_clean(part: &str) -> bool {
    !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0', ':'])
}

/// Percent-decodes; `None` if the result is not UTF-8 or an escape is broken.
fn decode(path: &str) -> Option<String> {
    if !path.contains('%') {
        return Some(path.to_owned());
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return None;
        };
        let digit = |byte: u8| (byte as char).to_digit(16);
        bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route() {
        let model = || "a b".to_owned();
        for (path, route) in [
            ("/", Route::Asset("index.html".into())),
            ("/page/main.js", Route::Asset("page/main.js".into())),
            ("/ws", Route::WebSocket),
            ("/models", Route::Models),
            ("/models/a%20b/metadata", Route::Metadata { model: model() }),
            (
                "/models/a%20b/frames/7.jpg",
                Route::Frame {
                    model: model(),
                    frame: 7,
                },
            ),
            ("/healthz", Route::Health),
            ("/readyz", Route::Ready),
            ("/stats", Route::Stats),
            ("/metrics", Route::Metrics),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn nothing_leaves_its_folder() {
        for path in [
            "",
            "*",
            "//",
            "/../Cargo.toml",
            "/a/../../x",
            "/%2e%2e/x",
            "/a/%2E%2E/x",
            "/a%2f..%2fx",
            "/..%5cx",
            "/.git/config",
            "/a//b",
            "/a/",
            "/a%00b",
            "/c:/x",
            "/%ff",
            "/%4",
            "/%zz",
            "/models/",
            "/models/x",
            "/models/../frames/1.jpg",
            "/models/x/frames/01.jpg",
            "/models/x/frames/+1.jpg",
            "/models/x/frames/-1.jpg",
            "/models/x/frames/4294967296.jpg",
            "/models/x/frames/1.png",
        ] {
            assert_eq!(Route::of(path), Route::Unknown, "{path}");
        }
    }
}
