//! How much this machine carries: what a frame of each package costs, measured at the start, and a
//! budget of computing time that streams are admitted against.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::job::PictureKind;

/// Share of the workers' time that streams may plan with. The rest is for what is done for a stream outside of the
/// workers (its connection's thread makes features of sound and writes frames), for single requests, and for frames
/// being dearer while all cores compute than when one alone was measured. On two cores 18 live streams of the default
/// face kept every frame for 12 s, their clients on the same cores, and of 20 some were late; this share admits 16 to 18.
const HEADROOM: f64 = 0.65;

/// No picture is taken to be cheaper: it bounds what is told as capacity.
const LEAST_COST: Duration = Duration::from_micros(10);

/// What one frame of a package costs on one core, one of its encoder rows being new: the shortest of a
/// few, measured when the package is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The predicted square alone.
    pub mouth: Duration,
    /// The full frame.
    pub full: Duration,
}

impl Cost {
    /// The cost of one kind of picture.
    pub fn of(&self, picture: PictureKind) -> Duration {
        match picture {
            PictureKind::Mouth => self.mouth,
            PictureKind::Full => self.full,
        }
    }
}

/// The budget. Clones share it.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Cores that streams may fill.
    budget: f64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    costs: BTreeMap<String, Cost>,
    /// Cores that the admitted streams fill.
    used: f64,
    active: u32,
}

/// A stream's share of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Admission,
    load: f64,
}

/// The machine carries no further stream of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded {
    /// Streams that are open.
    pub active: u32,
    /// Streams that could be, if those to come were of the kind that was asked for.
    pub capacity: u32,
}

impl Admission {
    /// A budget for `workers` cores.
    pub fn new(workers: usize) -> Admission {
        Admission(Arc::new(Shared {
            budget: workers as f64 * HEADROOM,
            state: Mutex::default(),
        }))
    }

    /// Notes what a package costs.
    pub fn set_cost(&self, package: &str, cost: Cost) {
        self.lock().costs.insert(package.to_owned(), cost);
    }

    /// Forgets a package that is no longer served. Its streams keep their shares until they end.
    pub fn forget(&self, package: &str) {
        self.lock().costs.remove(package);
    }

    /// What a package costs, if it was measured.
    pub fn cost(&self, package: &str) -> Option<Cost> {
        self.lock().costs.get(package).copied()
    }

    /// Admits a stream of `frame_rate` frames a second of `package`.
    ///
    /// # Errors
    /// [`Overloaded`], with the honest numbers.
    pub fn admit(
        &self,
        package: &str,
        picture: PictureKind,
        frame_rate: u32,
    ) -> Result<Permit, Overloaded> {
        let mut state = self.lock();
        let load = state.load(package, picture, frame_rate);
        // A stream that is alone makes nobody else late; what it cannot be sent in time it is told.
        let is_alone = state.active == 0 && load.is_finite();
        if !is_alone && state.used + load > self.0.budget + 1e-9 {
            return Err(Overloaded {
                active: state.active,
                capacity: self.room(&state, load),
            });
        }
        state.used += load;
        state.active += 1;
        Ok(Permit {
            admission: self.clone(),
            load,
        })
    }

    /// Streams of `package` that this machine carries, those of any kind that are open counted in.
    pub fn capacity(&self, package: &str, picture: PictureKind, frame_rate: u32) -> u32 {
        let state = self.lock();
        self.room(&state, state.load(package, picture, frame_rate))
    }

    /// Streams that this machine carries if they are of the most expensive package and picture: what can be promised
    /// whatever is asked for. 0 while nothing is measured.
    pub fn worst_capacity(&self) -> u32 {
        let state = self.lock();
        let costs = state.costs.values();
        let worst = costs.map(|cost| cost.mouth.max(cost.full)).max();
        worst.map_or(0, |cost| {
            (self.0.budget / (cost.as_secs_f64() * 25.0)) as u32
        })
    }

    fn room(&self, state: &State, load: f64) -> u32 {
        if load.is_infinite() {
            return state.active;
        }
        let more = ((self.0.budget - state.used).max(0.0) / load + 1e-9) as u32;
        state.active.saturating_add(more).max(1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Cores that a stream fills; infinitely many of a package that could not be measured or is no longer served: of
    /// such a one nothing can be promised.
    fn load(&self, package: &str, picture: PictureKind, frame_rate: u32) -> f64 {
        match self.costs.get(package) {
            Some(cost) => cost.of(picture).max(LEAST_COST).as_secs_f64() * f64::from(frame_rate),
            None => f64::INFINITY,
        }
    }
}

impl Permit {
    /// Exchanges the share for that of another package or picture, in one step: where there is no room for the new one the
    /// old one is kept.
    ///
    /// # Errors
    /// [`Overloaded`], with the honest numbers.
    pub fn change(
        &mut self,
        package: &str,
        picture: PictureKind,
        frame_rate: u32,
    ) -> Result<(), Overloaded> {
        let mut state = self.admission.lock();
        let load = state.load(package, picture, frame_rate);
        let budget = self.admission.0.budget;
        let others = (state.used - self.load).max(0.0);
        // A stream that is alone makes nobody else late.
        let is_alone = state.active == 1 && load.is_finite();
        if !is_alone && others + load > budget + 1e-9 {
            return Err(Overloaded {
                active: state.active,
                capacity: self.admission.room(&state, load),
            });
        }
        state.used = others + load;
        drop(state);
        self.load = load;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.active -= 1;
        state.used = if state.active == 0 {
            0.0
        } else {
            (state.used - self.load).max(0.0)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        let admission = Admission::new(2);
        let ms = Duration::from_millis;
        admission.set_cost(
            "face",
            Cost {
                mouth: ms(10),
                full: ms(20),
            },
        );
        admission
    }

    #[test]
    fn streams_are_admitted_until_the_budget_is_full() {
        let admission = admission();
        // 1.3 cores, a quarter of a core each.
        assert_eq!(admission.capacity("face", PictureKind::Mouth, 25), 5);
        // Full frames cost twice as much.
        assert_eq!(admission.worst_capacity(), 2);
        let mut permits: Vec<Permit> = (0..5)
            .map(|_| admission.admit("face", PictureKind::Mouth, 25).unwrap())
            .collect();
        let refused = admission.admit("face", PictureKind::Mouth, 25).unwrap_err();
        assert_eq!(
            refused,
            Overloaded {
                active: 5,
                capacity: 5
            }
        );
        permits.pop();
        assert!(admission.admit("face", PictureKind::Full, 25).is_err());
        assert!(admission.admit("face", PictureKind::Mouth, 25).is_ok());
    }

    #[test]
    fn a_lone_stream_is_admitted_whatever_it_costs() {
        let admission = admission();
        let permit = admission.admit("face", PictureKind::Full, 1000).unwrap();
        let refused = admission.admit("face", PictureKind::Mouth, 25).unwrap_err();
        assert_eq!((refused.active, refused.capacity), (1, 1));
        drop(permit);
        assert!(admission.admit("face", PictureKind::Mouth, 25).is_ok());
    }

    #[test]
    fn full_frames_and_rates_count() {
        let admission = admission();
        assert_eq!(admission.capacity("face", PictureKind::Full, 25), 2);
        assert_eq!(admission.capacity("face", PictureKind::Mouth, 50), 2);
        let _permit = admission.admit("face", PictureKind::Full, 50).unwrap();
        assert_eq!(admission.capacity("face", PictureKind::Mouth, 25), 2);
    }

    #[test]
    fn a_package_that_was_not_measured_or_is_gone_is_not_admitted() {
        let admission = admission();
        let none = Overloaded {
            active: 0,
            capacity: 0,
        };
        let refused = admission.admit("other", PictureKind::Mouth, 25);
        assert_eq!(refused.unwrap_err(), none);
        assert_eq!(admission.capacity("other", PictureKind::Mouth, 25), 0);
        admission.forget("face");
        let refused = admission.admit("face", PictureKind::Mouth, 25);
        assert_eq!(refused.unwrap_err(), none);
        assert_eq!(admission.worst_capacity(), 0);
    }

    #[test]
    fn capacity_is_bounded_whatever_was_measured() {
        let admission = Admission::new(2);
        let nothing = Duration::ZERO;
        admission.set_cost(
            "face",
            Cost {
                mouth: nothing,
                full: nothing,
            },
        );
        assert_eq!(admission.capacity("face", PictureKind::Mouth, 25), 5200);
    }
}
