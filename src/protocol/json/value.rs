//! JSON as a client sent it, strings borrowed from the message, and lenient reading of its fields: a message is read
//! as a whole before any of its fields is judged, so that an error can still tell whose it is.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::protocol::error::DecodeErrorKind;
use crate::protocol::limits::{MessageLimits, check_sample_rate};

/// A JSON value.
#[derive(Debug, PartialEq)]
pub(super) enum JsonValue<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number that is no integer of 64 bits.
    Float,
    Text(Cow<'a, str>),
    List(Vec<JsonValue<'a>>),
    Object(JsonObject<'a>),
}

/// A JSON object; the last of fields with one name counts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct JsonObject<'a>(Vec<(Cow<'a, str>, JsonValue<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for JsonValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = JsonValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(JsonValue::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(JsonValue::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(JsonValue::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(JsonValue::Float, JsonValue::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        // 2^53: up to here a whole f64 is the number that was written.
        let is_whole = value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0;
        Ok(match is_whole {
            true => JsonValue::Integer(value as i64),
            false => JsonValue::Float,
        })
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(JsonValue::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(JsonValue::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(JsonValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(JsonValue::Text(key)) = map.next_key()? {
            fields.push((key, map.next_value()?));
        }
        Ok(JsonValue::Object(JsonObject(fields)))
    }
}

type Read<T> = Result<T, DecodeErrorKind>;

impl<'a> JsonObject<'a> {
    /// The field; `None` where it is missing or null.
    pub fn get(&self, field: &str) -> Option<&JsonValue<'a>> {
        let (_, value) = self.0.iter().rev().find(|(key, _)| key == field)?;
        (*value != JsonValue::Null).then_some(value)
    }

    /// A string.
    pub fn text(&self, field: &'static str) -> Read<Option<&str>> {
        self.text_that_is(field, "a string")
    }

    fn text_that_is(&self, field: &'static str, expected: &'static str) -> Read<Option<&str>> {
        match self.get(field) {
            None => Ok(None),
            Some(JsonValue::Text(text)) => Ok(Some(text)),
            Some(_) => Err(DecodeErrorKind::Type { field, expected }),
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, field: &'static str) -> Read<Option<bool>> {
        match self.get(field) {
            None => Ok(None),
            Some(JsonValue::Bool(value)) => Ok(Some(*value)),
            Some(_) => {
                let expected = "true or false";
                Err(DecodeErrorKind::Type { field, expected })
            }
        }
    }

    fn integer(&self, field: &'static str) -> Read<Option<i64>> {
        match self.get(field) {
            None => Ok(None),
            Some(JsonValue::Integer(value)) => Ok(Some(*value)),
            Some(_) => {
                let expected = "an integer";
                Err(DecodeErrorKind::Type { field, expected })
            }
        }
    }

    /// An integer of at least `min` and at most `max`.
    pub fn number(&self, field: &'static str, min: u32, max: u32) -> Read<Option<u32>> {
        let Some(value) = self.integer(field)? else {
            return Ok(None);
        };
        let in_range = u32::try_from(value)
            .ok()
            .filter(|value| (min..=max).contains(value));
        let (min, max) = (min.into(), max.into());
        let error = DecodeErrorKind::Range {
            field,
            value,
            min,
            max,
        };
        in_range.map(Some).ok_or(error)
    }

    /// An integer of 32 bits that must be there.
    pub fn needed(&self, field: &'static str) -> Read<u32> {
        let value = self.number(field, 0, u32::MAX)?;
        value.ok_or(DecodeErrorKind::Missing { field })
    }

    /// The name of a package.
    pub fn model_name(&self, limits: &MessageLimits) -> Read<&str> {
        let name = self.text("model_name")?.unwrap_or_default();
        limits.check_name("model_name", name)?;
        Ok(name)
    }

    /// A sample rate in Hz.
    pub fn sample_rate(&self) -> Read<Option<u32>> {
        self.integer("sample_rate")?
            .map(check_sample_rate)
            .transpose()
    }

    /// The client's own id, a string or an integer.
    pub fn request_id(&self, limits: &MessageLimits) -> Read<Option<Box<str>>> {
        let field = "request_id";
        let id: Box<str> = match self.get(field) {
            None => return Ok(None),
            Some(JsonValue::Integer(id)) => id.to_string().into(),
            Some(JsonValue::Text(id)) => id.as_ref().into(),
            Some(_) => {
                let expected = "a string or an integer";
                return Err(DecodeErrorKind::Type { field, expected });
            }
        };
        limits.check_id(field, &id)?;
        Ok(Some(id))
    }

    /// Audio in base64.
    pub fn audio(&self, limits: &MessageLimits) -> Read<Option<Bytes>> {
        let field = "audio_override";
        let text = self.text_that_is(field, "a string: PCM16 as base64")?;
        text.map_or(Ok(None), |text| limits.audio_from_base64(field, text))
    }
}
