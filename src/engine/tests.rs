//! The engine as its callers see it.

use super::*;
use crate::base::event_queue::{EventSender, event_queue};
use crate::config::Options;

impl Deliver for EventSender<Done> {
    fn deliver(&self, done: Done) -> Result<(), SendError> {
        self.send(done)
    }

    fn is_gone(&self) -> bool {
        EventSender::is_gone(self)
    }
}

#[test]
fn a_panic_costs_its_own_job_and_the_worker_goes_on() {
    let config = Config::new(Options {
        workers: 1,
        models_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/packages").into(),
        ..Options::default()
    });
    let config = config.unwrap();
    let engine = Engine::start(&config, Arc::new(Stats::default())).unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/packages/tiny");
    let package = engine.load_folder(Path::new(folder)).unwrap();
    let frame = |ticket| {
        let (reply, results) = event_queue::<Done>(1).unwrap();
        let job = Job {
            connection: ConnectionId(1),
            ticket,
            package: package.clone(),
            frame_id: 1,
            audio: JobAudio::Own,
            picture: PictureKind::Mouth,
            quality: None,
            cancel: None,
            reply: Arc::new(reply),
        };
        engine.submit(job).unwrap();
        let Some(done) = results.wait(Duration::from_secs(60)) else {
            panic!("a job has no result")
        };
        assert_eq!(done.ticket, ticket);
        done.result.unwrap().jpeg
    };
    let before = frame(1);
    let lost: Result<(), _> = engine.shared.fenced(0, |_| panic!("a deliberate panic"));
    assert!(matches!(lost, Err(JobError::Panicked)));
    assert_eq!(frame(2), before);
    engine.stop();
}

/// What a frame costs is measured on one frame, warm: a frame that is met for the first time is decoded and cropped, which
/// a stream's are not.
#[test]
fn a_package_is_measured_on_one_frame() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packages");
    let config = Config::new(Options {
        workers: 1,
        models_dir: folder.clone(),
        ..Options::default()
    });
    let engine = Engine::start(&config.unwrap(), Arc::new(Stats::default())).unwrap();
    engine.load_folder(&folder.join("tiny")).unwrap();
    let crops = engine.registry().crops().statistics();
    assert_eq!((crops.misses, crops.crops), (1, 1));
    assert!(
        crops.hits >= 2 * u64::from(MEASURED_FRAMES),
        "{}",
        crops.hits
    );
    engine.stop();
}
