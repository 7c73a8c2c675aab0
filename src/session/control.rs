//! Control messages: everything that is not a frame.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::model::ModelError;
use crate::protocol::{
    Configured, Control, ControlBody, DEFAULT_SAMPLE_RATE_HZ, ErrorReply, ModelLoaded,
    ModelUnloaded, Protocol, ProtocolInfo, VideoFrame,
};
use crate::transport::Outbox;

use super::context::Context;
use super::describe::{metadata, model_list, stats_snapshot};
use super::error::SessionError;
use super::event::Event;
use super::link::{ClientLink, ReplyTo};

/// What control messages set and wait for on one connection.
pub(super) struct ControlChannel {
    /// What binary messages of this connection are.
    protocol: Protocol,
    /// Of audio whose rate is not said, in Hz.
    sample_rate_hz: u32,
    /// When the next broadcast of statistics is due, for those who subscribed.
    next_stats: Option<Instant>,
    /// Packages that are being loaded for this client, by ticket.
    loads: HashMap<u64, ReplyTo>,
}

impl ControlChannel {
    pub fn new(protocol: Protocol) -> ControlChannel {
        ControlChannel {
            protocol,
            sample_rate_hz: DEFAULT_SAMPLE_RATE_HZ,
            next_stats: None,
            loads: HashMap::new(),
        }
    }

    /// The rate of audio whose rate is not said, in Hz.
    pub fn sample_rate_hz(&self) -> u32 {
        self.sample_rate_hz
    }

    /// Requests that are not answered yet.
    pub fn len(&self) -> usize {
        self.loads.len()
    }

    /// When [`ControlChannel::on_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_stats
    }

    /// Carries out a control message. `admitted`: whether a request that takes time may be taken.
    pub fn on_request(
        &mut self,
        control: Control,
        reply_to: ReplyTo,
        ticket: u64,
        admitted: Result<u32, SessionError>,
        link: &ClientLink,
        out: &mut Outbox,
    ) {
        let frame_id = match &control {
            Control::VideoFrame { frame_id, .. } => Some(*frame_id),
            _ => None,
        };
        let now = reply_to.arrived;
        match self.answer(control, ticket, admitted, link, now) {
            Ok(Some(body)) => link.send_control(body, &reply_to, out),
            Ok(None) => {
                self.loads.insert(ticket, reply_to);
            }
            Err(error) => {
                let error = ErrorReply {
                    frame_id,
                    ..reply_to.error(error, now)
                };
                link.send_error(error, reply_to.protocol, out);
            }
        }
    }

    /// A package that this client asked for was loaded, or was not.
    pub fn on_loaded(
        &mut self,
        ticket: u64,
        name: String,
        result: Result<Duration, ModelError>,
        link: &ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        let Some(reply_to) = self.loads.remove(&ticket) else {
            return;
        };
        match result {
            Ok(took) => {
                let body = ControlBody::ModelLoaded(ModelLoaded {
                    success: true,
                    model_name: name,
                    initialization_time_ms: took.as_secs_f64() * 1000.0,
                });
                link.send_control(body, &reply_to, out);
            }
            Err(error) => {
                log::warn!("a client asked for the package {name:?}: {error}");
                let error = reply_to.error(SessionError::NotLoaded(error), now);
                link.send_error(error, reply_to.protocol, out);
            }
        }
    }

    /// The time of a broadcast may have come.
    pub fn on_deadline(&mut self, link: &ClientLink, now: Instant, out: &mut Outbox) {
        let Some(due) = self.next_stats.filter(|at| now >= *at) else {
            return;
        };
        // A loop that was held up does not send the missed ones, one after another.
        self.next_stats = Some((due + link.context().limits.stats()).max(now));
        let stats = Box::new(stats_snapshot(link.context()));
        link.broadcast(ControlBody::Stats(stats), out);
    }

    /// The server is stopping: nothing more is broadcast.
    pub fn on_drain(&mut self) {
        self.next_stats = None;
    }

    /// What is answered at once; `None`: the answer comes later.
    fn answer(
        &mut self,
        control: Control,
        ticket: u64,
        admitted: Result<u32, SessionError>,
        link: &ClientLink,
        now: Instant,
    ) -> Result<Option<ControlBody>, SessionError> {
        let context = &**link.context();
        Ok(Some(match control {
            Control::Stats { subscribe } => {
                match subscribe {
                    Some(true) => self.next_stats = Some(now + context.limits.stats()),
                    Some(false) => self.next_stats = None,
                    None => {}
                }
                ControlBody::Stats(Box::new(stats_snapshot(context)))
            }
            Control::SwitchToBinary => ControlBody::ProtocolInfo(self.protocol_info(context)),
            Control::Configure { sample_rate_hz } => {
                self.sample_rate_hz = sample_rate_hz;
                ControlBody::Configured(Configured {
                    success: true,
                    sample_rate: sample_rate_hz,
                })
            }
            Control::ListModels => ControlBody::ModelList(model_list(context)),
            Control::Metadata { model_name } => {
                ControlBody::Metadata(metadata(&*context.find(&model_name)?))
            }
            Control::VideoFrame {
                model_name,
                frame_id,
            } => video_frame(model_name, frame_id, context)?,
            Control::UnloadModel { model_name } => {
                check_allowed(context)?;
                let unloaded = context.engine.registry().unload(&model_name);
                unloaded.map_err(SessionError::UnknownModel)?;
                context.engine.admission().forget(&model_name);
                log::info!("the package {model_name} was unloaded by a client");
                context.sessions.package_unloaded(&model_name);
                ControlBody::ModelUnloaded(ModelUnloaded {
                    success: true,
                    model_name,
                })
            }
            Control::LoadModel { model_name } => {
                check_allowed(context)?;
                admitted?;
                start_loading(model_name, ticket, link)?;
                return Ok(None);
            }
        }))
    }

    fn protocol_info(&self, context: &Context) -> ProtocolInfo {
        let enabled = context.decoder.enabled;
        let subprotocols = Protocol::PREFERENCE
            .into_iter()
            .filter(|p| enabled.contains(*p));
        let supported = enabled.contains(Protocol::Binary);
        ProtocolInfo {
            binary_supported: supported,
            binary_protocol_version: "1.0".to_owned(),
            message: if supported {
                "binary messages are understood on this connection; no switch is needed".to_owned()
            } else {
                format!("binary is switched off on this server; it speaks {enabled}")
            },
            protocol: self.protocol.name().to_owned(),
            subprotocols: subprotocols
                .filter_map(Protocol::subprotocol)
                .map(str::to_owned)
                .collect(),
            protocols: enabled.names().map(str::to_owned).collect(),
        }
    }
}

fn check_allowed(context: &Context) -> Result<(), SessionError> {
    if context.allow_load {
        Ok(())
    } else {
        Err(SessionError::LoadForbidden)
    }
}

fn start_loading(model_name: String, ticket: u64, link: &ClientLink) -> Result<(), SessionError> {
    let context = link.context();
    let served = context.engine.registry();
    let limit = context.limits.max_packages as usize;
    let is_known = served.find(&model_name).is_ok();
    if !is_known && served.names().len() >= limit {
        return Err(SessionError::TooManyPackages { limit });
    }
    let (events, name) = (link.events().clone(), model_name.clone());
    let on_result = Box::new(move |result| {
        // A client that has left needs no answer.
        let _ = events.send(Event::Loaded {
            ticket,
            name,
            result,
        });
    });
    context.engine.load(model_name, on_result)?;
    Ok(())
}

fn video_frame(
    model_name: String,
    frame_id: u32,
    context: &Context,
) -> Result<ControlBody, SessionError> {
    let package = context.find(&model_name)?;
    let frame = package.idle_frame(frame_id);
    let (width, height) = package.frame_size();
    Ok(ControlBody::VideoFrame(VideoFrame {
        success: true,
        model_name,
        frame_id,
        avatar_frame: frame,
        frame_size: [width as u32, height as u32],
        bounds: package.bounds(frame),
        frame_data: package.frame_jpeg(frame),
    }))
}
