//! The parts of a session, each with a real engine and without a connection.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::batch::Batches;
use super::context::{BATCH_FRAMES_AT_A_TIME, Context};
use super::control::ControlChannel;
use super::directory::SessionDirectory;
use super::error::SessionError;
use super::event::Event;
use super::frames::FrameRequests;
use super::link::{ClientLink, ReplyTo};
use crate::base::event_queue::{EventQueue, event_queue};
use crate::base::ids::ConnectionId;
use crate::config::{Config, Options};
use crate::engine::{Done, Engine, JobError, Refused};
use crate::model::Registry;
use crate::observe::Stats;
use crate::protocol::{
    BatchFrame, BatchRequest, Control, ErrorCode, ErrorReply, InferenceRequest, Protocol, RequestId,
};
use crate::transport::{Outbox, Outgoing};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the parts are lent.
struct Lender {
    link: ClientLink,
    events: EventQueue<Event>,
    out: Outbox,
    now: Instant,
}

impl Lender {
    fn new(change: impl FnOnce(&mut Options)) -> Lender {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packages");
        let mut options = Options {
            models_dir: models,
            workers: 2,
            ..Options::default()
        };
        change(&mut options);
        let config = Config::new(options).unwrap();
        let engine = Engine::start(&config, Arc::new(Stats::default())).unwrap();
        for folder in Registry::folders(config.models_dir()).unwrap() {
            engine.load_folder(&folder).unwrap();
        }
        let context = Arc::new(Context::new(&config, engine));
        context.set_ready();
        let (sender, events) = event_queue(context.event_capacity()).unwrap();
        Lender {
            link: ClientLink::new(context, ConnectionId(1), sender),
            events,
            out: Outbox::new(1 << 20),
            now: Instant::now(),
        }
    }

    fn reply_to(&self, request_id: &str) -> ReplyTo {
        ReplyTo {
            protocol: Protocol::Json,
            request_id: RequestId::Client(request_id.into()),
            arrived: self.now,
        }
    }

    fn next_done(&mut self) -> Done {
        match self.events.wait(PATIENCE) {
            Some(Event::Done(done)) => done,
            other => panic!("a frame is due: {other:?}"),
        }
    }

    fn next_reply(&mut self) -> Option<Value> {
        match self.out.pop()? {
            Outgoing::Text(text) => Some(serde_json::from_str(&text).unwrap()),
            other => panic!("a text message is due: {other:?}"),
        }
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        self.link.context().engine.stop();
    }
}

fn request(model_name: &str, frame_id: u32) -> InferenceRequest {
    InferenceRequest {
        model_name: model_name.into(),
        frame_id,
        audio: Some(vec![0; 30_720].into()),
        sample_rate_hz: None,
        request_id: None,
    }
}

#[test]
fn a_frame_is_answered_once_with_what_was_asked() {
    let mut lender = Lender::new(|_| {});
    let mut frames = FrameRequests::default();
    let (to, ticket) = (lender.reply_to("r1"), lender.link.next_ticket());
    let asked = request("tiny", 1_000_000);
    frames.on_request(asked, to, ticket, Ok(24_000), &lender.link, &mut lender.out);
    assert_eq!((frames.len(), lender.next_reply()), (1, None));
    let done = lender.next_done();
    frames.on_done(done, &lender.link, lender.now, &mut lender.out);
    let reply = lender.next_reply().unwrap();
    assert_eq!(
        (&reply["success"], &reply["frame_id"]),
        (&true.into(), &1_000_000.into())
    );
    assert_eq!(
        (&reply["request_id"], &reply["model_name"]),
        (&"r1".into(), &"tiny".into())
    );
    assert_eq!((frames.len(), lender.next_reply()), (0, None));
}

#[test]
fn what_is_refused_at_once_tells_the_frame_and_the_request() {
    let mut lender = Lender::new(|_| {});
    let mut frames = FrameRequests::default();
    let limit = 3;
    let busy = SessionError::TooManyInFlight { limit };
    for (name, admitted, code) in [
        ("nobody", Ok(24_000), "unknown_model"),
        ("tiny", Err(busy), "busy"),
        ("tiny", Err(SessionError::ShuttingDown), "shutting_down"),
    ] {
        let (to, ticket) = (lender.reply_to("r2"), lender.link.next_ticket());
        frames.on_request(
            request(name, 9),
            to,
            ticket,
            admitted,
            &lender.link,
            &mut lender.out,
        );
        let reply = lender.next_reply().unwrap();
        assert_eq!(
            (&reply["code"], &reply["frame_id"]),
            (&code.into(), &9.into())
        );
        assert_eq!(reply["request_id"], "r2");
    }
    assert_eq!(frames.len(), 0);
}

#[test]
fn a_batch_has_few_frames_in_the_engine_and_is_answered_in_order() {
    let mut lender = Lender::new(|_| {});
    let mut batches = Batches::default();
    let count = 3 * BATCH_FRAMES_AT_A_TIME as u32;
    let frame = |frame_id| BatchFrame {
        frame_id,
        audio: None,
    };
    let batch = BatchRequest {
        model_name: "tiny".into(),
        frames: (0..count).map(frame).collect(),
        sample_rate_hz: None,
        request_id: None,
    };
    let (to, ticket) = (lender.reply_to("r3"), lender.link.next_ticket());
    batches.on_request(
        batch,
        to,
        ticket,
        Ok(24_000),
        &mut lender.link,
        &mut lender.out,
    );
    for answered in 0..count {
        assert_eq!(
            (batches.len(), lender.next_reply()),
            (1, None),
            "{answered}"
        );
        let in_engine = (0..1000).filter(|&ticket| batches.owns(ticket)).count();
        assert!(in_engine <= BATCH_FRAMES_AT_A_TIME);
        let done = lender.next_done();
        batches.on_done(done, &mut lender.link, lender.now, &mut lender.out);
    }
    let reply = lender.next_reply().unwrap();
    let numbers = reply["frames"].as_array().unwrap().iter();
    let numbers: Vec<u64> = numbers
        .map(|frame| frame["frame_id"].as_u64().unwrap())
        .collect();
    assert!(numbers.into_iter().eq(0..u64::from(count)));
    assert_eq!((batches.len(), batches.next_deadline()), (0, None));
}

#[test]
fn statistics_are_broadcast_in_step_and_never_in_a_burst() {
    let mut lender = Lender::new(|_| {});
    let mut control = ControlChannel::new(Protocol::Binary);
    let subscribe = |on| Control::Stats {
        subscribe: Some(on),
    };
    let ask = |control: &mut ControlChannel, lender: &mut Lender, asked| {
        let (to, ticket) = (lender.reply_to("r4"), lender.link.next_ticket());
        control.on_request(asked, to, ticket, Ok(24_000), &lender.link, &mut lender.out);
        lender.next_reply().unwrap()
    };
    assert_eq!(
        ask(&mut control, &mut lender, subscribe(true))["type"],
        "stats"
    );
    let period = lender.link.context().limits.stats();
    assert_eq!(control.next_deadline(), Some(lender.now + period));
    // The loop was held up for ten periods.
    lender.now += period * 10;
    control.on_deadline(&lender.link, lender.now, &mut lender.out);
    let told = lender.next_reply().unwrap();
    assert_eq!(
        (&told["type"], told.get("request_id")),
        (&"stats".into(), None)
    );
    assert_eq!(lender.next_reply(), None);
    assert!(control.next_deadline() >= Some(lender.now));
    ask(&mut control, &mut lender, subscribe(false));
    assert_eq!(control.next_deadline(), None);
    let sample_rate_hz = 16_000;
    ask(
        &mut control,
        &mut lender,
        Control::Configure { sample_rate_hz },
    );
    assert_eq!(control.sample_rate_hz(), sample_rate_hz);
}

#[test]
fn packages_are_loaded_and_unloaded_only_where_it_is_allowed() {
    let mut lender = Lender::new(|_| {});
    let mut control = ControlChannel::new(Protocol::Binary);
    let model_name = || "tiny".to_owned();
    for asked in [
        Control::LoadModel {
            model_name: model_name(),
        },
        Control::UnloadModel {
            model_name: model_name(),
        },
    ] {
        let (to, ticket) = (lender.reply_to("r5"), lender.link.next_ticket());
        control.on_request(asked, to, ticket, Ok(24_000), &lender.link, &mut lender.out);
        assert_eq!(lender.next_reply().unwrap()["code"], "forbidden");
    }
    assert_eq!(control.len(), 0);
}

#[test]
fn every_open_session_is_told_of_an_unloaded_package() {
    let directory = SessionDirectory::default();
    let (first, first_events) = event_queue(4).unwrap();
    let (second, second_events) = event_queue(4).unwrap();
    let entry = directory.add(first);
    directory.add(second);
    directory.package_unloaded("tiny");
    directory.remove(entry);
    directory.package_unloaded("other");
    let names = |events: &EventQueue<Event>| -> Vec<String> {
        let taken = std::iter::from_fn(|| events.take());
        let name = |event| match event {
            Event::PackageUnloaded { name } => name.to_string(),
            other => panic!("{other:?}"),
        };
        taken.map(name).collect()
    };
    assert_eq!(names(&first_events), ["tiny"]);
    assert_eq!(names(&second_events), ["tiny", "other"]);
}

#[test]
fn errors_have_the_codes_that_clients_decide_by() {
    let limit = 1;
    for (error, code) in [
        (SessionError::ShuttingDown, ErrorCode::ShuttingDown),
        (SessionError::TooManyInFlight { limit }, ErrorCode::Busy),
        (SessionError::TooManyPackages { limit }, ErrorCode::TooLarge),
        (SessionError::LoadForbidden, ErrorCode::Forbidden),
        (
            SessionError::Submit(Refused::Busy { limit }),
            ErrorCode::Busy,
        ),
        (
            SessionError::Submit(Refused::Stopping),
            ErrorCode::ShuttingDown,
        ),
        (SessionError::Job(JobError::NoAudio), ErrorCode::Unsupported),
        (SessionError::Job(JobError::Panicked), ErrorCode::Internal),
    ] {
        let reply = ErrorReply::from(error);
        assert_eq!(reply.code, code);
        assert!(!reply.text.is_empty());
    }
}
