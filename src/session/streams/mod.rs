//! The streams of one connection (`lipsync.v2`): each a state machine of [`crate::stream`], fed with
//! messages, results and the time; what it wants is sent and computed here.

mod open;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::engine::{Cancel, Done, Job, JobAudio, PictureKind, WindowRow};
use crate::model::Package;
use crate::observe::Stats;
use crate::protocol::stream::{
    AudioChunk, CloseReason, Closed, DropReason, FLAG_HELD, FLAG_IDLE, ImageKind, StreamBody,
    StreamControl, StreamRequest, StreamUpdate,
};
use crate::protocol::{Code, ErrorReply, Protocol};
use crate::stream::{FrameJob, Micros, Output, StreamPicture, StreamRow};
use crate::transport::Outbox;

use super::link::ClientLink;
use super::resumable::{LiveState, ServedStream, SharedLive, lock};

/// While a client does not take what is sent, it is looked at so often whether it does again.
const BLOCKED_RETRY: Duration = Duration::from_millis(10);

/// The streams of a connection, and their work in the engine.
#[derive(Default)]
pub(super) struct Streams {
    open: BTreeMap<u16, OpenStream>,
    /// By the connection's ticket.
    jobs: HashMap<u64, StreamJob>,
    /// Where the streams' clocks begin.
    origin: Option<Instant>,
    /// Some stream waits for the connection to take more.
    blocked_until: Option<Instant>,
}

/// A stream of this connection, counted as open for as long as this lives.
struct OpenStream {
    live: SharedLive,
    stats: Arc<Stats>,
}

impl OpenStream {
    fn new(live: SharedLive, stats: Arc<Stats>) -> OpenStream {
        count(&stats.streams.open, 1);
        OpenStream { live, stats }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        count(&self.stats.streams.open, -1);
    }
}

struct StreamJob {
    stream: u16,
    /// The stream's own ticket; `None` once it does not want the result any more.
    ticket: Option<u64>,
    cancel: Cancel,
}

impl Streams {
    fn micros(&mut self, now: Instant) -> Micros {
        let origin = *self.origin.get_or_insert(now);
        now.saturating_duration_since(origin).as_micros() as Micros
    }

    fn instant(&self, at: Micros) -> Option<Instant> {
        Some(self.origin? + Duration::from_micros(at.max(0) as u64))
    }

    /// When a stream wants to be called.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self
            .open
            .values()
            .filter_map(|open| match &lock(&open.live).state {
                LiveState::Attached(stream) => stream.next_deadline(),
                _ => None,
            });
        let next = deadlines.min().and_then(|at| self.instant(at));
        next.into_iter().chain(self.blocked_until).min()
    }

    /// Whether `ticket` is of a stream.
    pub(super) fn owns(&self, ticket: u64) -> bool {
        self.jobs.contains_key(&ticket)
    }
}

impl Streams {
    /// A message about a stream has come.
    pub(super) fn on_request(
        &mut self,
        request: StreamRequest,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        let id = request.stream;
        let done = match request.body {
            StreamControl::Open(open) => self.open_stream(id, &open, link, now, out),
            StreamControl::Change { model_name } => {
                self.change_stream(id, &model_name, link, now, out)
            }
            control => self.with_stream(id, link, now, out, |stream, now| {
                stream.on_control(&control, now)
            }),
        };
        tell(id, done, link, out);
    }

    /// Audio of a stream has come.
    pub(super) fn on_audio(
        &mut self,
        chunk: &AudioChunk,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        let id = chunk.stream;
        let done = self.with_stream(id, link, now, out, |stream, now| {
            stream.on_audio(chunk, now)
        });
        tell(id, done, link, out);
    }

    /// A frame of a stream is done.
    pub(super) fn on_done(
        &mut self,
        done: Done,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        let Some(job) = self.jobs.remove(&done.ticket) else {
            return;
        };
        let Some(ticket) = job.ticket else { return };
        let result = done
            .result
            .map_err(|error| error.to_string())
            .map(|picture| StreamPicture {
                jpeg: picture.jpeg,
                bounds: picture.bounds,
                avatar_frame: picture.avatar_frame,
            });
        let compute_us = done.compute.as_micros().min(u128::from(u32::MAX)) as u32;
        // Its stream may be closed meanwhile.
        let _ = self.with_stream(job.stream, link, now, out, |stream, now| {
            stream.on_done(ticket, result, compute_us, now);
        });
    }

    /// The deadline of some stream has come.
    pub(super) fn on_deadline(&mut self, link: &mut ClientLink, now: Instant, out: &mut Outbox) {
        let unblock = self.blocked_until.is_some_and(|at| at <= now);
        if unblock {
            self.blocked_until = out.is_over().then_some(now + BLOCKED_RETRY);
        }
        let free = self.blocked_until.is_none();
        let ids: Vec<u16> = self.open.keys().copied().collect();
        for id in ids {
            let _ = self.with_stream(id, link, now, out, |stream, now| {
                if unblock && free {
                    stream.set_blocked(false, now);
                }
                if stream.next_deadline().is_some_and(|at| at <= now) {
                    stream.on_deadline(now);
                }
            });
        }
    }

    /// A stream of this connection may have been taken up by another: if so, the client is told. Asked of a
    /// stream that is still here, or is open anew, it changes nothing.
    pub(super) fn on_taken(
        &mut self,
        id: u16,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        let _ = self.with_stream(id, link, now, out, |_, _| {});
    }

    /// Ends all streams.
    pub(super) fn close_all(
        &mut self,
        reason: CloseReason,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        let ids: Vec<u16> = self.open.keys().copied().collect();
        for id in ids {
            let _ = self.with_stream(id, link, now, out, |stream, now| stream.close(reason, now));
        }
    }

    /// A package is no longer served: the streams that show it, or are to show it next, are closed.
    pub(super) fn close_package(
        &mut self,
        name: &str,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
    ) {
        let ids: Vec<u16> = self.open.keys().copied().collect();
        for id in ids {
            let _ = self.with_stream(id, link, now, out, |stream, now| {
                if stream.package_name() == name {
                    stream.close(CloseReason::ModelUnloaded, now);
                }
            });
        }
    }

    /// The connection has broken: its streams are kept for their clients, their work is given up.
    pub(super) fn detach_all(&mut self, link: &mut ClientLink, now: Instant) {
        for job in self.jobs.values() {
            job.cancel.cancel();
        }
        for open in std::mem::take(&mut self.open).into_values() {
            let mut live = lock(&open.live);
            let LiveState::Attached(mut stream) =
                std::mem::replace(&mut live.state, LiveState::Gone)
            else {
                continue;
            };
            let token = stream.token().to_owned();
            match stream.detach() {
                Some(detached) => live.state = LiveState::Detached(Box::new(detached)),
                None => live.permit = None,
            }
            drop(live);
            link.context().resumable.keep(&token, now);
        }
    }

    /// Calls a stream, then does what it wants.
    fn with_stream(
        &mut self,
        id: u16,
        link: &mut ClientLink,
        now: Instant,
        out: &mut Outbox,
        call: impl FnOnce(&mut ServedStream, Micros),
    ) -> Result<(), ErrorReply> {
        let at = self.micros(now);
        let Some(shared) = self.open.get(&id).map(|open| open.live.clone()) else {
            return Err(unknown(id));
        };
        let mut live = lock(&shared);
        let stream = match &mut live.state {
            LiveState::Attached(stream) => stream,
            LiveState::Taken(stats) => {
                let body = StreamBody::Closed(Closed {
                    reason: CloseReason::TakenOver,
                    stats: std::mem::take(stats),
                });
                let update = StreamUpdate { body, stream: id };
                link.send_update(update, out);
                self.forget(id);
                return Err(unknown(id));
            }
            LiveState::Detached(_) | LiveState::Gone => {
                self.forget(id);
                return Err(unknown(id));
            }
        };
        call(stream, at);
        let mut is_over = false;
        while let Some(output) = stream.poll_output() {
            match output {
                Output::Frame(frame) => {
                    let figures = &link.context().stats.streams;
                    count(&figures.frames_sent, 1);
                    count(
                        &figures.idle_frames,
                        i64::from(frame.flags & FLAG_IDLE != 0),
                    );
                    count(
                        &figures.held_frames,
                        i64::from(frame.flags & FLAG_HELD != 0),
                    );
                    link.send_stream_frame(frame, out);
                }
                Output::Update(update) => {
                    count_drops(&link.context().stats, &update.body);
                    link.send_update(update, out);
                }
                Output::Error { code, text } => {
                    let error = ErrorReply {
                        stream: Some(id),
                        ..ErrorReply::new(code, text)
                    };
                    link.send_error(error, Protocol::Json, out);
                }
                Output::Compute(job) => {
                    let ticket = job.ticket;
                    if !self.compute(id, job, link) {
                        stream.on_refused(ticket, at);
                    }
                }
                Output::Cancel { ticket } => {
                    let job = self.jobs.values_mut();
                    if let Some(job) = job
                        .into_iter()
                        .find(|job| job.stream == id && job.ticket == Some(ticket))
                    {
                        job.ticket = None;
                        job.cancel.cancel();
                    }
                }
                Output::Closed => is_over = true,
            }
        }
        if out.is_over() && !is_over {
            stream.set_blocked(true, at);
            self.blocked_until.get_or_insert(now + BLOCKED_RETRY);
        }
        if is_over {
            link.context().resumable.remove(stream.token());
            live.state = LiveState::Gone;
            live.permit = None;
            self.open.remove(&id);
        }
        Ok(())
    }

    /// Gives a frame to the engine; `false` when there is no room.
    fn compute(
        &mut self,
        id: u16,
        job: FrameJob<Arc<Package>, crate::engine::Row>,
        link: &mut ClientLink,
    ) -> bool {
        if self.jobs.len() >= link.context().max_stream_jobs() {
            return false;
        }
        let ticket = link.next_ticket();
        let cancel = Cancel::default();
        let rows = job.rows.into_iter().map(|row| match row {
            StreamRow::Zero => WindowRow::Zero,
            StreamRow::Row { mel, slot } => WindowRow::Row {
                mel,
                features: slot,
            },
        });
        let submitted = link.context().engine.submit(Job {
            connection: link.connection(),
            ticket,
            package: job.package,
            frame_id: job.frame_id,
            audio: JobAudio::Rows(rows.collect()),
            picture: picture_kind(job.image),
            quality: Some(job.quality),
            cancel: Some(cancel.clone()),
            reply: link.deliver(),
        });
        if submitted.is_ok() {
            let job = StreamJob {
                stream: id,
                ticket: Some(job.ticket),
                cancel,
            };
            self.jobs.insert(ticket, job);
        }
        submitted.is_ok()
    }

    /// A stream of this connection is no longer its own.
    fn forget(&mut self, id: u16) {
        self.open.remove(&id);
        for job in self.jobs.values_mut().filter(|job| job.stream == id) {
            job.ticket = None;
            job.cancel.cancel();
        }
    }
}

fn count_drops(stats: &Stats, body: &StreamBody) {
    let figures = &stats.streams;
    match body {
        StreamBody::Dropped(dropped) => {
            let counter = match dropped.reason {
                DropReason::Late => &figures.dropped_late,
                DropReason::NoCredit => &figures.dropped_no_credit,
                _ => return,
            };
            count(counter, dropped.count as i64);
        }
        StreamBody::Interrupted(interrupted) => {
            count(&figures.dropped_interrupted, i64::from(interrupted.dropped));
        }
        _ => {}
    }
}

fn tell(id: u16, done: Result<(), ErrorReply>, link: &ClientLink, out: &mut Outbox) {
    if let Err(error) = done {
        let error = ErrorReply {
            stream: Some(id),
            ..error
        };
        link.send_error(error, Protocol::Json, out);
    }
}

fn unknown(id: u16) -> ErrorReply {
    let text = format!("stream {id} is not open on this connection; open it first");
    ErrorReply::new(Code::UnknownStream, text)
}

fn picture_kind(image: ImageKind) -> PictureKind {
    match image {
        ImageKind::Mouth => PictureKind::Mouth,
        ImageKind::Full => PictureKind::Full,
    }
}

fn count(counter: &AtomicU64, by: i64) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}
