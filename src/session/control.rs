//! Control messages: everything that is not a frame.

use std::time::Instant;

use crate::protocol::{
    Code, Configured, Control, ControlBody, ErrorReply, ModelUnloaded, Protocol, ProtocolInfo,
    VideoFrame,
};
use crate::transport::Outbox;

use super::v1::{Conversation, Origin};
use super::{Event, metadata, model_list, stats_snapshot};

impl Conversation {
    pub(super) fn control(
        &mut self,
        control: Control,
        origin: Origin,
        ticket: u64,
        now: Instant,
        out: &mut Outbox,
    ) {
        match self.control_body(control, &origin, ticket, now) {
            Ok(Some(body)) => self.answer(body, &origin, out),
            // The answer comes later.
            Ok(None) => {}
            Err(mut error) => {
                error.request_id = Some(origin.request_id.clone());
                error.processing_us = origin.micros(now);
                self.error(error, origin.protocol, out);
            }
        }
    }

    fn control_body(
        &mut self,
        control: Control,
        origin: &Origin,
        ticket: u64,
        now: Instant,
    ) -> Result<Option<ControlBody>, ErrorReply> {
        let body = match control {
            Control::Stats { subscribe } => {
                match subscribe {
                    Some(true) => self.next_stats = Some(now + self.context.limits.stats()),
                    Some(false) => self.next_stats = None,
                    None => {}
                }
                ControlBody::Stats(Box::new(stats_snapshot(&self.context)))
            }
            Control::SwitchToBinary => ControlBody::ProtocolInfo(self.protocol_info()),
            Control::Configure { sample_rate_hz } => {
                self.sample_rate_hz = sample_rate_hz;
                ControlBody::Configured(Configured {
                    success: true,
                    sample_rate: sample_rate_hz,
                })
            }
            Control::ListModels => ControlBody::ModelList(model_list(&self.context)),
            Control::Metadata { model_name } => {
                ControlBody::Metadata(metadata(&*self.context.find(&model_name)?))
            }
            Control::VideoFrame {
                model_name,
                frame_id,
            } => {
                let package = self.context.find(&model_name).map_err(|mut error| {
                    error.frame_id = Some(frame_id);
                    error
                })?;
                let frame = package.idle_frame(frame_id);
                let (width, height) = package.frame_size();
                ControlBody::VideoFrame(VideoFrame {
                    success: true,
                    model_name,
                    frame_id,
                    avatar_frame: frame,
                    frame_size: [width as u32, height as u32],
                    bounds: package.bounds(frame),
                    frame_data: package.frame_jpeg(frame),
                })
            }
            Control::LoadModel { model_name } => {
                self.check_allowed()?;
                self.admit()?;
                let served = self.context.engine.registry();
                let limit = self.context.limits.max_packages as usize;
                let known = served.find(&model_name).is_ok();
                if !known && served.names().len() >= limit {
                    let text = format!("{limit} packages are served already (--max-packages)");
                    return Err(ErrorReply::new(Code::TooLarge, text));
                }
                let (events, name) = (self.events.clone(), model_name.clone());
                let on_result = Box::new(move |result| {
                    // A client that has left needs no answer.
                    let _ = events.send(Event::Loaded {
                        ticket,
                        name,
                        result,
                    });
                });
                self.context
                    .engine
                    .load(model_name, on_result)
                    .map_err(|loading| ErrorReply::new(Code::Busy, loading.to_string()))?;
                self.await_load(ticket, origin.clone());
                return Ok(None);
            }
            Control::UnloadModel { model_name } => {
                self.check_allowed()?;
                let unloaded = self.context.engine.registry().unload(&model_name);
                unloaded.map_err(|error| ErrorReply::new(Code::UnknownModel, error.to_string()))?;
                log::info!("the package {model_name} was unloaded by a client");
                ControlBody::ModelUnloaded(ModelUnloaded {
                    success: true,
                    model_name,
                })
            }
        };
        Ok(Some(body))
    }

    fn check_allowed(&self) -> Result<(), ErrorReply> {
        if self.context.allow_load {
            return Ok(());
        }
        Err(ErrorReply::new(
            Code::Forbidden,
            "packages are loaded by the administrator; start the server with --allow-load to let clients do it",
        ))
    }

    fn protocol_info(&self) -> ProtocolInfo {
        let enabled = self.context.decoder.enabled;
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
