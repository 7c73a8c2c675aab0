//! Tables of the fields of binary messages, and what is made from them: decoding, encoding and inspection.

use std::ops::Range;

use super::error::DecodeErrorKind;
use super::reader::{Reader, little_endian};

/// The most fields that a message has.
const MAX_FIELDS: usize = 12;
/// The most bytes that stand before, or behind, the image of a message.
const MAX_SURROUND: usize = 48;

/// What bytes of a length of their own hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// UTF-8.
    Text,
    /// PCM16 little-endian mono.
    Pcm,
    /// An image.
    Jpeg,
}

/// How a field is laid out. All numbers are little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldType {
    U8,
    /// A u8 whose bits have names.
    Flags(&'static [(u8, &'static str)]),
    U16,
    U32,
    U64,
    /// Four f32: x1, y1, x2, y2.
    Bounds,
    /// As many bytes as the u32 before says.
    Counted(Content),
    /// All bytes to the end of the message.
    Rest(Content),
}

impl FieldType {
    /// Bytes of the field; `None` where the message says how many.
    pub const fn size(self) -> Option<usize> {
        match self {
            FieldType::U8 | FieldType::Flags(_) => Some(1),
            FieldType::U16 => Some(2),
            FieldType::U32 => Some(4),
            FieldType::U64 => Some(8),
            FieldType::Bounds => Some(16),
            FieldType::Counted(_) | FieldType::Rest(_) => None,
        }
    }

    const fn content(self) -> Option<Content> {
        match self {
            FieldType::Counted(content) | FieldType::Rest(content) => Some(content),
            _ => None,
        }
    }
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FieldSpec {
    pub name: &'static str,
    pub kind: FieldType,
    /// The only value that the number may have.
    pub only: Option<u32>,
}

/// A field of any value.
pub(super) const fn field(name: &'static str, kind: FieldType) -> FieldSpec {
    FieldSpec {
        name,
        kind,
        only: None,
    }
}

/// A number that has always the same value.
pub(super) const fn constant(name: &'static str, kind: FieldType, value: u32) -> FieldSpec {
    FieldSpec {
        name,
        kind,
        only: Some(value),
    }
}

/// A message: its fields in their order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// What the message is, for a person.
    pub title: &'static str,
    pub fields: &'static [FieldSpec],
}

/// A value to be written. Constants and the lengths of counted fields are not given: the table knows them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    Bounds([f32; 4]),
    Bytes(&'a [u8]),
}

/// Where a message is written.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    /// The image, which is large and may be in its place already.
    fn put_image(&mut self, bytes: &[u8]) {
        self.put(bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Layout {
    /// The place of the field `name`; for constants, so that a wrong name does not compile.
    pub const fn index(&self, name: &str) -> usize {
        let mut index = 0;
        while index < self.fields.len() {
            if same(self.fields[index].name, name) {
                return index;
            }
            index += 1;
        }
        panic!("the layout has no field of that name")
    }

    /// Finds the fields of `message`, as many as are whole.
    pub fn parse<'a>(&'static self, message: &'a [u8]) -> Parsed<'a> {
        let mut reader = Reader::new(message);
        let mut parsed = Parsed {
            layout: self,
            message,
            ends: [0; MAX_FIELDS],
            count: 0,
            error: None,
        };
        for spec in self.fields {
            let size = match spec.kind {
                FieldType::Counted(_) => parsed.number(parsed.count.wrapping_sub(1)).unwrap_or(0),
                FieldType::Rest(_) => reader.left() as u64,
                kind => kind.size().unwrap_or(0) as u64,
            };
            if let Err(error) = reader.bytes(spec.name, usize::try_from(size).unwrap_or(usize::MAX))
            {
                parsed.error = Some(error);
                return parsed;
            }
            parsed.ends[parsed.count] = reader.offset();
            parsed.count += 1;
        }
        parsed.error = reader.finish().err();
        parsed
    }

    /// Writes a message of these values, in the order of the fields that need one.
    pub fn write(&self, values: &[Value<'_>], out: &mut impl Sink) {
        let mut values = values.iter();
        for (index, spec) in self.fields.iter().enumerate() {
            let next = self.fields.get(index + 1).map(|next| next.kind);
            let counted = matches!(next, Some(FieldType::Counted(_)));
            let value = match (spec.only, counted) {
                (Some(only), _) => Some(Value::U64(only.into())),
                (None, true) => match values.as_slice().first() {
                    Some(Value::Bytes(bytes)) => Some(Value::U64(bytes.len() as u64)),
                    _ => None,
                },
                (None, false) => values.next().copied(),
            };
            match value {
                Some(value) => write_field(spec.kind, value, out),
                None => debug_assert!(false, "{} has no value", spec.name),
            }
        }
        debug_assert!(values.next().is_none(), "{}: a value is left", self.title);
    }
}

fn write_field(kind: FieldType, value: Value<'_>, out: &mut impl Sink) {
    let number: u64 = match value {
        Value::U8(number) => number.into(),
        Value::U16(number) => number.into(),
        Value::U32(number) => number.into(),
        Value::U64(number) => number,
        Value::Bounds(edges) => return edges.iter().for_each(|edge| out.put(&edge.to_le_bytes())),
        Value::Bytes(bytes) if kind.content() == Some(Content::Jpeg) => {
            return out.put_image(bytes);
        }
        Value::Bytes(bytes) => return out.put(bytes),
    };
    let size = kind.size().unwrap_or(0).min(8);
    out.put(&number.to_le_bytes()[..size]);
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut index = 0;
    while index < a.len() && index < b.len() && a[index] == b[index] {
        index += 1;
    }
    index == a.len() && index == b.len()
}

/// A message taken apart by its table.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    layout: &'static Layout,
    message: &'a [u8],
    /// Where each field ends.
    ends: [usize; MAX_FIELDS],
    /// Fields that are whole.
    count: usize,
    /// Why the rest could not be read.
    error: Option<DecodeErrorKind>,
}

impl<'a> Parsed<'a> {
    /// Where the field lies in the message; `None` where it could not be read.
    pub fn range(&self, index: usize) -> Option<Range<usize>> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        (index < self.count).then(|| start..self.ends[index])
    }

    /// The field's bytes; none where it could not be read.
    pub fn bytes(&self, index: usize) -> &'a [u8] {
        let range = self.range(index).unwrap_or_default();
        self.message.get(range).unwrap_or_default()
    }

    /// The field's number.
    pub fn number(&self, index: usize) -> Option<u64> {
        self.range(index)?;
        Some(little_endian(self.bytes(index)))
    }

    /// The field's number, of 32 bits.
    pub fn u32(&self, index: usize) -> Option<u32> {
        self.number(index).map(|number| number as u32)
    }

    /// The field's four edges.
    pub fn bounds(&self, index: usize) -> [f32; 4] {
        let mut bounds = [0.0; 4];
        for (edge, bytes) in bounds.iter_mut().zip(self.bytes(index).chunks_exact(4)) {
            *edge = f32::from_bits(little_endian(bytes) as u32);
        }
        bounds
    }

    /// The fields that could be read, each with its place.
    pub fn fields(&self) -> impl Iterator<Item = (&'static FieldSpec, Range<usize>)> {
        let read = self.layout.fields.iter().enumerate();
        read.filter_map(|(index, spec)| Some((spec, self.range(index)?)))
    }

    /// What is wrong: a field that does not hold what it must, else what could not be read.
    pub fn check(&self) -> Result<(), DecodeErrorKind> {
        for (spec, range) in self.fields() {
            check_field(spec, range, self.message)?;
        }
        self.error.clone().map_or(Ok(()), Err)
    }
}

fn check_field(
    spec: &FieldSpec,
    range: Range<usize>,
    message: &[u8],
) -> Result<(), DecodeErrorKind> {
    let field = spec.name;
    let offset = range.start;
    let bytes = message.get(range).unwrap_or_default();
    if let Some(only) = spec.only {
        let value = little_endian(bytes) as i64;
        let (min, max) = (only.into(), only.into());
        if value != min {
            return Err(DecodeErrorKind::Range {
                field,
                value,
                min,
                max,
            });
        }
    }
    match spec.kind.content() {
        Some(Content::Text) => check_utf8(field, offset, bytes),
        Some(Content::Pcm) => check_pcm(field, bytes),
        Some(Content::Jpeg) | None => Ok(()),
    }
}

/// Text at `offset` of a message.
pub(super) fn check_utf8(
    field: &'static str,
    offset: usize,
    bytes: &[u8],
) -> Result<(), DecodeErrorKind> {
    std::str::from_utf8(bytes)
        .map(|_| ())
        .map_err(|error| DecodeErrorKind::Utf8 {
            field,
            offset: offset + error.valid_up_to(),
        })
}

/// Samples of two bytes.
pub(super) fn check_pcm(field: &'static str, bytes: &[u8]) -> Result<(), DecodeErrorKind> {
    let bytes = bytes.len();
    match bytes.is_multiple_of(2) {
        true => Ok(()),
        false => Err(DecodeErrorKind::OddPcm { field, bytes }),
    }
}

/// What stands around the image of a message: written here while the image is in its place already.
#[derive(Debug)]
pub(super) struct Surround {
    bytes: [u8; 2 * MAX_SURROUND],
    len: usize,
    image_at: usize,
}

impl Surround {
    /// What `layout` has before and behind the image among `values`.
    pub fn of(layout: &Layout, values: &[Value<'_>]) -> Surround {
        let mut surround = Surround {
            bytes: [0; 2 * MAX_SURROUND],
            len: 0,
            image_at: 0,
        };
        layout.write(values, &mut surround);
        surround
    }

    /// The bytes before the image.
    pub fn front(&self) -> &[u8] {
        &self.bytes[..self.image_at]
    }

    /// The bytes behind the image.
    pub fn back(&self) -> &[u8] {
        &self.bytes[self.image_at..self.len]
    }
}

impl Sink for Surround {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(bytes);
            self.len = end;
        }
    }

    fn put_image(&mut self, _image: &[u8]) {
        self.image_at = self.len;
    }
}
