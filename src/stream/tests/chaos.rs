//! Any order of anything.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Audio {
        epoch: u32,
        offset: i64,
        ms: u32,
        loud: bool,
    },
    Wait(u32),
    End(u32),
    Interrupt(u32),
    Start(u32),
    Credit(u32),
    Pause,
    Resume,
    Stats,
    Change,
    Reconnect,
    Slow(u32),
    Fail(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u32..3, prop_oneof![6 => Just(0i64), 1 => -3_000i64..3_000, 1 => any::<i64>()], 0u32..700, any::<bool>())
            .prop_map(|(epoch, offset, ms, loud)| Step::Audio { epoch, offset, ms, loud }),
        6 => (0u32..600).prop_map(Step::Wait),
        1 => (0u32..3).prop_map(Step::End),
        1 => (0u32..3).prop_map(Step::Interrupt),
        1 => any::<u32>().prop_map(Step::Start),
        3 => (0u32..60).prop_map(Step::Credit),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        1 => Just(Step::Stats),
        1 => Just(Step::Change),
        1 => Just(Step::Reconnect),
        1 => (1u32..300).prop_map(Step::Slow),
        1 => any::<bool>().prop_map(Step::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn chaos_breaks_no_promise(steps in proptest::collection::vec(step(), 1..50), credits in 0u32..80, ave: bool) {
        let spec = if ave { FrontEndSpec::AVE } else { SPEC };
        let mut world = World::with(Open { credits, ..open_message() }, StreamConfig::default(), spec);
        let mut allowed = u64::from(credits);
        let mut void = 0;
        for step in steps {
            let epoch = world.stream.epoch();
            let frames = world.frames.len();
            match step {
                Step::Audio { epoch: up, offset, ms, loud } => {
                    let at = world.stream.received_and_waiting().0;
                    let first = (if up == 0 { at } else { 0 }).saturating_add_signed(offset);
                    let samples = if loud { speech(ms) } else { silence(ms) };
                    world.audio(epoch + up, first, &samples);
                }
                Step::Wait(ms) => world.wait(Micros::from(ms) * MS),
                Step::End(up) => world.control(StreamControl::End { epoch: epoch + up }),
                Step::Interrupt(up) => {
                    let before = world.updates.len();
                    world.control(StreamControl::Interrupt { epoch: epoch + up });
                    if up > 0 {
                        let told = matches!(world.updates[before], StreamBody::Interrupted(_));
                        prop_assert!(told && world.jobs.is_empty());
                        void = epoch + up;
                        let interrupted = world.interrupted();
                        let last = world.frames.iter().rev().map(|(_, f)| f).find(|f| f.epoch == interrupted.last_epoch);
                        prop_assert_eq!(interrupted.last_sequence, last.map(|frame| frame.sequence));
                    }
                }
                Step::Start(frame) => world.control(StreamControl::Start { epoch: epoch + 1, avatar_frame: frame }),
                Step::Credit(frames) => {
                    allowed += u64::from(frames);
                    world.control(StreamControl::Credit { frames });
                }
                Step::Pause => world.control(StreamControl::Pause),
                Step::Resume => world.control(StreamControl::Resume),
                Step::Stats => world.control(StreamControl::Stats),
                Step::Change => world.act(|stream, now| stream.change(package(2, SPEC), now)),
                Step::Reconnect => {
                    let detached = world.stream.detach().unwrap();
                    world.drain();
                    prop_assert!(world.jobs.is_empty());
                    let model_name = detached.facts().model_name.clone();
                    let open = Open { credits: 0, model_name, ..open_message() };
                    allowed = world.frames.len() as u64;
                    world.stream = Stream::resume(detached, &open, params(), world.now).unwrap();
                    world.drain();
                    void = world.stream.epoch();
                }
                Step::Slow(ms) => world.compute = Micros::from(ms) * MS,
                Step::Fail(fails) => world.fails = fails,
            }
            prop_assert!(world.frames[frames..].iter().all(|(_, frame)| frame.epoch >= void));
            prop_assert!(world.frames.len() as u64 <= allowed);
            let (_, waiting) = world.stream.received_and_waiting();
            let (scheduled, in_flight) = world.stream.scheduled_and_in_flight();
            prop_assert!(waiting <= 60 * RATE as usize);
            prop_assert!(scheduled <= 50);
            prop_assert!(world.jobs.len() <= 4);
            prop_assert_eq!(world.jobs.len(), in_flight);
        }
        world.check();
        // Whatever happened: the next utterance is seen to its end.
        world.control(StreamControl::Resume);
        world.compute = 10 * MS;
        world.fails = false;
        let epoch = world.stream.epoch() + 1;
        world.control(StreamControl::Interrupt { epoch });
        world.control(StreamControl::Credit { frames: 1_000 });
        world.audio(epoch, 0, &speech(1_000));
        world.control(StreamControl::End { epoch });
        world.wait(3_000 * MS);
        let last = &world.frames.last().unwrap().1;
        prop_assert_eq!((last.epoch, last.flags & FLAG_LAST), (epoch, FLAG_LAST));
        prop_assert!(world.jobs.is_empty());
    }
}
