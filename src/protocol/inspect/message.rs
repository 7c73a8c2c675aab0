//! Binary messages, field by field, by their layouts.

use bytes::Bytes;

use super::protobuf;
use super::report::{Direction, Field, Report};
use super::show;
use crate::protocol::decoder::Decoder;
use crate::protocol::error::{DecodeError, DecodeErrorKind};
use crate::protocol::layout::{FieldType, Layout};
use crate::protocol::negotiate::Protocol;
use crate::protocol::resemblance::Resemblance;
use crate::protocol::{binary, stream};

/// Takes apart a binary message whose protocol and direction are known.
pub fn inspect(protocol: Protocol, direction: Direction, message: Bytes) -> Report {
    let mut report = match (protocol, direction) {
        (Protocol::Binary | Protocol::Json, Direction::Sent) => {
            by_layout(binary::REQUEST, message.clone())
        }
        (Protocol::BinaryTimed, Direction::Sent) => Report {
            title: "v1 timed request".to_owned(),
            ..by_layout(binary::REQUEST, message.clone())
        },
        (Protocol::Binary | Protocol::Json, Direction::Received) => reply(&message, false),
        (Protocol::BinaryTimed, Direction::Received) => reply(&message, true),
        (Protocol::Protobuf, Direction::Sent) => protobuf::request(message.clone()),
        (Protocol::Protobuf, Direction::Received) => protobuf::response(message.clone()),
        (Protocol::Stream, _) => match stream::layout(&message) {
            Ok(layout) => by_layout(layout, message.clone()),
            Err(kind) => unread("v2 message", message.clone(), kind),
        },
    };
    // A client's message in the wrong place is told as the server tells it.
    if let (Some(error), Direction::Sent) = (&mut report.error, direction) {
        let told = Decoder::default().binary(protocol, message).err();
        error.resemblance = told.and_then(|told| told.resemblance);
    }
    report
}

/// A server's message of version 1; one of the other layout is told apart.
fn reply(message: &Bytes, timed: bool) -> Report {
    let mut report = by_layout(binary::reply_layout(message, timed), message.clone());
    let other = binary::reply_layout(message, !timed).parse(message);
    if let Some(error) = &mut report.error
        && other.check().is_ok()
    {
        error.resemblance = Some(match timed {
            true => Resemblance::PlainReply,
            false => Resemblance::TimedReply,
        });
    }
    report
}

/// Takes apart a binary message of which nothing is known: as what it fits best.
pub fn inspect_unknown(message: &Bytes) -> Report {
    // Of layouts that fit equally well the last is taken: the likeliest.
    let protocols = [
        Protocol::Protobuf,
        Protocol::BinaryTimed,
        Protocol::Binary,
        Protocol::Stream,
    ];
    protocols
        .into_iter()
        .flat_map(|protocol| [(protocol, Direction::Received), (protocol, Direction::Sent)])
        .map(|(protocol, direction)| inspect(protocol, direction, message.clone()))
        .max_by_key(|report| (report.error.is_none(), report.understood()))
        .unwrap_or_else(|| by_layout(binary::REQUEST, message.clone()))
}

fn by_layout(layout: &'static Layout, message: Bytes) -> Report {
    let parsed = layout.parse(&message);
    let mut fields = Vec::new();
    for (spec, range) in parsed.fields() {
        let field = |name: &str, start: usize, bytes: Bytes| Field {
            offset: Some(start),
            name: name.to_owned(),
            value: show::field(spec.kind, &bytes),
            bytes,
        };
        if spec.kind == FieldType::Bounds {
            for (edge, name) in ["x1", "y1", "x2", "y2"].into_iter().enumerate() {
                let start = range.start + 4 * edge;
                fields.push(field(name, start, message.slice(start..start + 4)));
            }
        } else {
            fields.push(field(spec.name, range.start, message.slice(range)));
        }
    }
    let error = parsed.check().err().map(DecodeError::from);
    Report::covering(layout.title, message, fields, error)
}

fn unread(title: &str, message: Bytes, kind: DecodeErrorKind) -> Report {
    Report::covering(title, message, Vec::new(), Some(kind.into()))
}
