//! The jobs of one connection's streams in the engine.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::{Cancel, Job, JobAudio, PictureKind, Row};
use crate::model::Package;
use crate::protocol::stream::ImageKind;
use crate::stream::FrameJob;

use super::super::link::ClientLink;

/// Jobs by the connection's ticket, those given up and not yet found by a worker included.
#[derive(Default)]
pub(super) struct JobTable {
    jobs: HashMap<u64, StreamJob>,
}

struct StreamJob {
    stream: u16,
    /// The stream's own ticket; `None` once it does not want the result any more.
    ticket: Option<u64>,
    cancel: Cancel,
}

impl StreamJob {
    fn give_up(&mut self) {
        self.ticket = None;
        self.cancel.cancel();
    }
}

impl JobTable {
    /// Gives a frame to the engine; `false` when there is no room.
    pub(super) fn submit(
        &mut self,
        stream: u16,
        job: FrameJob<Arc<Package>, Row>,
        link: &mut ClientLink,
    ) -> bool {
        if self.jobs.len() >= link.context().max_stream_jobs() {
            return false;
        }
        let ticket = link.next_ticket();
        let cancel = Cancel::default();
        let submitted = link.context().engine.submit(Job {
            connection: link.connection(),
            ticket,
            package: job.package,
            frame_id: job.frame_id,
            audio: JobAudio::Features(job.window),
            picture: picture_kind(job.image),
            quality: Some(job.quality),
            cancel: Some(cancel.clone()),
            reply: link.deliver(),
        });
        if submitted.is_ok() {
            let ticket_of_stream = Some(job.ticket);
            let job = StreamJob {
                stream,
                ticket: ticket_of_stream,
                cancel,
            };
            self.jobs.insert(ticket, job);
        }
        submitted.is_ok()
    }

    /// Whether the job of `ticket` is of a stream.
    pub(super) fn owns(&self, ticket: u64) -> bool {
        self.jobs.contains_key(&ticket)
    }

    /// A job is done: whose it was, and that stream's own ticket, if the result is still wanted.
    pub(super) fn done(&mut self, ticket: u64) -> Option<(u16, u64)> {
        let job = self.jobs.remove(&ticket)?;
        Some((job.stream, job.ticket?))
    }

    /// A stream does not want the result of its job `ticket`.
    pub(super) fn cancel(&mut self, stream: u16, ticket: u64) {
        let mut jobs = self.jobs.values_mut();
        let job = jobs.find(|job| job.stream == stream && job.ticket == Some(ticket));
        if let Some(job) = job {
            job.give_up();
        }
    }

    /// A stream does not want any result.
    pub(super) fn cancel_all(&mut self, stream: u16) {
        let jobs = self.jobs.values_mut().filter(|job| job.stream == stream);
        jobs.for_each(StreamJob::give_up);
    }
}

/// The engine's word for a kind of picture.
pub(super) fn picture_kind(image: ImageKind) -> PictureKind {
    match image {
        ImageKind::Mouth => PictureKind::Mouth,
        ImageKind::Full => PictureKind::Full,
    }
}
