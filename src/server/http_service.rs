//! What the server answers: pages, packages, health and figures by HTTP, handshakes and sessions.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::base::event_queue::EventSender;
use crate::base::ids::ConnectionId;
use crate::base::log_throttle::LogThrottle;
use crate::model::Package;
use crate::protocol::negotiate;
use crate::session::{ClientSession, Context, Event, metadata, model_list, stats_snapshot};
use crate::transport::http::{Head, Response};
use crate::transport::{HandshakeDecision, Service};

use super::assets::Assets;
use super::metrics;
use super::origin_policy::OriginPolicy;
use super::routes::Route;

/// Browsers may keep a package's frames this long without asking again.
const FRAMES_CACHE: &str = "public, max-age=300";
/// The page's files are asked for again each time, and not sent again while they are the same.
const ASSETS_CACHE: &str = "no-cache";

/// The service of this server.
pub struct HttpService {
    context: Arc<Context>,
    assets: Assets,
    origins: OriginPolicy,
    /// Refused origins in the log.
    refusals: LogThrottle<String>,
}

impl HttpService {
    /// Serves `context`, to pages of the origins that the policy lets in.
    pub fn new(context: Arc<Context>, assets: Assets, origins: OriginPolicy) -> HttpService {
        HttpService {
            context,
            assets,
            origins,
            refusals: LogThrottle::default(),
        }
    }

    fn asset(&self, path: &str, head: &Head) -> Response {
        let Some(asset) = self.assets.find(path) else {
            return Response::text(404, format!("there is no file {path:?}"));
        };
        let response = Response::new(200, asset.content_type, asset.bytes);
        let mut response = response.cached(&asset.tag, ASSETS_CACHE, head.header("if-none-match"));
        if asset.content_type.starts_with("text/html") {
            // The embedded face is made to be framed by other sites; the page is not.
            response.allow_framing = path == "embed.html";
        }
        response
    }

    fn frame(&self, package: &Package, frame: u32, head: &Head) -> Response {
        if frame >= package.frame_count() {
            let count = package.frame_count();
            return Response::text(
                404,
                format!("this package has the frames 0 to {}", count - 1),
            );
        }
        let manifest = package.manifest();
        let checksum = manifest.files.get(&manifest.frames_file);
        let checksum = checksum.map_or("", |checksum| checksum.sha256.get(..16).unwrap_or(""));
        let tag = format!("{checksum}-{frame}");
        Response::new(200, "image/jpeg", package.frame_jpeg(frame)).cached(
            &tag,
            FRAMES_CACHE,
            head.header("if-none-match"),
        )
    }

    fn package(&self, model: &str, answer: impl FnOnce(&Package) -> Response) -> Response {
        match self.context.find(model) {
            Ok(package) => answer(&package),
            Err(error) => Response::json(
                404,
                &json!({"success": false, "code": error.code().as_str(), "error": error.to_string()}),
            ),
        }
    }

    fn ready(&self) -> Response {
        let served = self.context.engine.registry().names();
        if !self.context.is_ready() {
            Response::text(503, "loading packages").with("Retry-After", "1")
        } else if served.is_empty() {
            Response::text(503, "no package could be loaded; the log says why")
        } else {
            Response::text(200, format!("ready: {}", served.join(", ")))
        }
    }

    /// Lets pages of other sites read a response. Everybody's may have the page's files and the pictures, which are
    /// public and lead nowhere without a WebSocket; the rest is for those that may open one.
    fn readable_by(&self, route: &Route, head: &Head, response: Response) -> Response {
        const ALLOW: &str = "Access-Control-Allow-Origin";
        match route {
            Route::Asset(_) | Route::Frame { .. } => response.with(ALLOW, "*"),
            _ => match head.header("origin") {
                Some(origin) if self.origins.check(head).is_ok() => response
                    .with(ALLOW, origin.to_owned())
                    .with("Vary", "Origin"),
                _ => response.with("Vary", "Origin"),
            },
        }
    }

    fn stats(&self) -> Response {
        let crops = self.context.engine.registry().crops().statistics();
        let mut stats = json!(stats_snapshot(&self.context));
        stats["crop_cache"] = json!({
            "crops": crops.crops, "bytes": crops.bytes, "budget_bytes": crops.budget_bytes,
            "hits": crops.hits, "misses": crops.misses,
        });
        Response::json(200, &stats)
    }
}

impl Service for HttpService {
    type Session = ClientSession;

    fn respond(&self, head: &Head) -> Response {
        let route = Route::of(head.path());
        let response = match &route {
            Route::Asset(path) => self.asset(path, head),
            Route::Models => Response::json(200, &json!(model_list(&self.context))),
            Route::Metadata { model } => self.package(model, |package| {
                Response::json(200, &json!(metadata(package)))
            }),
            Route::Frame { model, frame } => {
                self.package(model, |package| self.frame(package, *frame, head))
            }
            Route::Health => Response::text(200, "ok"),
            Route::Ready => self.ready(),
            Route::Stats => self.stats(),
            Route::Metrics => Response::new(
                200,
                "text/plain; version=0.0.4; charset=utf-8",
                metrics::text(&stats_snapshot(&self.context), self.context.is_ready()),
            )
            .with("Cache-Control", "no-store"),
            Route::WebSocket => Response::text(426, "this path takes WebSocket connections only")
                .with("Upgrade", "websocket"),
            Route::Unknown => Response::text(404, "there is nothing at this path"),
        };
        self.readable_by(&route, head, response)
    }

    fn handshake(&self, head: &Head) -> HandshakeDecision {
        if !Route::of(head.path()).takes_websocket() {
            let text = "WebSocket connections are taken at / and /ws";
            return HandshakeDecision::Refuse(Response::text(404, text));
        }
        if let Err(refused) = self.origins.check(head) {
            if let Some(more) = self.refusals.admit(refused.origin.clone(), Instant::now()) {
                log::warn!("a WebSocket was refused: {refused}{more}");
            }
            return HandshakeDecision::Refuse(Response::text(403, refused));
        }
        let offered = head.list("sec-websocket-protocol");
        let settled = negotiate(offered.iter().copied(), self.context.decoder.enabled);
        HandshakeDecision::Accept(settled.subprotocol)
    }

    fn open(
        &self,
        subprotocol: Option<&'static str>,
        connection: ConnectionId,
        events: EventSender<Event>,
    ) -> ClientSession {
        let negotiated = negotiate(subprotocol, self.context.decoder.enabled);
        ClientSession::new(self.context.clone(), negotiated, connection, events)
    }

    fn event_capacity(&self) -> usize {
        self.context.event_capacity()
    }

    fn on_refused(&self) {
        self.context.stats.refused();
    }
}
