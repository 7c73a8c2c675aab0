//! Fields of a JSON message, read without giving up at the first that is wrong, so that an error can still
//! tell the request's frame and id.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Frames of a batch that are kept while reading; more are only counted.
pub(super) const KEPT_BATCH_FRAMES: usize = 1024;

/// A value that should be a scalar.
#[derive(Debug, Default)]
pub(super) enum Loose<'a> {
    #[default]
    Absent,
    Bool(bool),
    Integer(i64),
    Text(Cow<'a, str>),
    /// An array, an object, or a number that is no integer of 64 bits.
    Other,
}

/// Every field that some message has.
#[derive(Debug, Default, Deserialize)]

pub(super) struct Fields<'a> {
    #[serde(default, borrow, rename = "type")]
    pub kind: Loose<'a>,
    #[serde(default, borrow)]
    pub request_id: Loose<'a>,
    #[serde(default, borrow)]
    pub model_name: Loose<'a>,
    #[serde(default, borrow)]
    pub frame_id: Loose<'a>,
    #[serde(default, borrow)]
    pub audio_override: Loose<'a>,
    #[serde(default, borrow)]
    pub sample_rate: Loose<'a>,
    #[serde(default, borrow)]
    pub batch_frames: Frames<'a>,
    #[serde(default, borrow)]
    pub subscribe: Loose<'a>,
    #[serde(default, borrow)]
    pub stream: Loose<'a>,
    #[serde(default, borrow)]
    pub epoch: Loose<'a>,
    #[serde(default, borrow)]
    pub avatar_frame: Loose<'a>,
    #[serde(default, borrow)]
    pub frames: Loose<'a>,
    #[serde(default, borrow)]
    pub image: Loose<'a>,
    #[serde(default, borrow)]
    pub quality: Loose<'a>,
    #[serde(default, borrow)]
    pub frame_rate: Loose<'a>,
    #[serde(default, borrow)]
    pub credits: Loose<'a>,
    #[serde(default, borrow)]
    pub max_delay_ms: Loose<'a>,
    #[serde(default, borrow)]
    pub token: Loose<'a>,
}

/// The fields of one frame of a batch.
#[derive(Debug, Default, Deserialize)]

pub(super) struct FrameFields<'a> {
    #[serde(default, borrow)]
    pub frame_id: Loose<'a>,
    #[serde(default, borrow)]
    pub audio_override: Loose<'a>,
}

/// A value that should be an array of objects.
#[derive(Debug, Default)]
pub(super) enum Frames<'a> {
    #[default]
    Absent,
    Wrong,
    /// The first [`KEPT_BATCH_FRAMES`], and how many there were.
    List(Vec<FrameFields<'a>>, usize),
}

/// The whole message: an object, and nothing else.
pub(super) struct Message<'a>(pub Fields<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Message<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Message<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Fields::deserialize(MapAccessDeserializer::new(map)).map(Message)
            }
        }
        deserializer.deserialize_any(Object)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl<'de> Visitor<'de> for Scalar {
            type Value = Loose<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Loose::Absent)
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Loose::Bool(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Loose::Integer(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                Ok(i64::try_from(value).map_or(Loose::Other, Loose::Integer))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
                // 2^53: up to here a whole f64 is the number that was written.
                let whole = value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0;
                Ok(if whole {
                    Loose::Integer(value as i64)
                } else {
                    Loose::Other
                })
            }

            fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Loose::Text(Cow::Borrowed(value)))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Loose::Text(Cow::Owned(value.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Loose::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Loose::Other)
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

/// The visits of a visitor that wants no scalar: all give `$value`, and null gives `$null`.
macro_rules! other_scalars_are {
    ($value:expr, $null:expr) => {
        other_scalars_are!(@ $value, visit_bool bool, visit_i64 i64, visit_u64 u64, visit_f64 f64, visit_str &str);

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok($null)
        }
    };
    (@ $value:expr, $($visit:ident $scalar:ty),+) => {
        $(fn $visit<E: Error>(self, _: $scalar) -> Result<Self::Value, E> {
            Ok($value)
        })+
    };
}

/// One element of a batch: an object, or something that is none.
struct Element<'a>(Option<FrameFields<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Element<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Element<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with a frame_id")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                FrameFields::deserialize(MapAccessDeserializer::new(map))
                    .map(|fields| Element(Some(fields)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Element(None))
            }

            other_scalars_are!(Element(None), Element(None));
        }
        deserializer.deserialize_any(Object)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Frames<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Frames<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an array of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let (mut list, mut count, mut wrong) = (Vec::new(), 0, false);
                while list.len() < KEPT_BATCH_FRAMES {
                    match seq.next_element::<Element>()? {
                        None => break,
                        Some(Element(Some(fields))) => list.push(fields),
                        Some(Element(None)) => wrong = true,
                    }
                    count += 1;
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(if wrong {
                    Frames::Wrong
                } else {
                    Frames::List(list, count)
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Frames::Wrong)
            }

            other_scalars_are!(Frames::Wrong, Frames::Absent);
        }
        deserializer.deserialize_any(List)
    }
}
