//! What a whole session answers to messages that are well known and in the wrong place.

use lipsyncd::transport::Outgoing;
use serde_json::{Value, json};

use crate::memory_server::Memory;
use crate::support::{PATIENCE, config};
use crate::v1::binary_reply;

fn text(message: Option<Outgoing>) -> Value {
    match message {
        Some(Outgoing::Text(text)) => serde_json::from_str(&text).unwrap(),
        other => panic!("a text message is due: {other:?}"),
    }
}

/// JSON as a binary frame (Unity's Send), a byte order mark, big-endian numbers (Java), a v2 chunk without the
/// subprotocol: the words lead to the cause, in the layout of the connection.
#[test]
fn words_lead_to_the_cause_on_every_connection() {
    let memory = Memory::new(&config());
    let json = br#"{"type": "list_models"}"#;
    let mut chunk = vec![1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    chunk.extend([7; 64]);
    let name = b"tiny";
    let big_endian = [
        &4u32.to_be_bytes()[..],
        name,
        &8u32.to_be_bytes(),
        &0u32.to_be_bytes(),
    ];
    let big_endian = big_endian.concat();
    for (subprotocol, message, frame, words) in [
        ("", &json[..], 0, "send it as a text message"),
        ("lipsync.v1.timed", json, 0, "send it as a text message"),
        ("", &chunk, 0, "lipsync.v2"),
        ("lipsync.v1", &big_endian, 8, "little-endian"),
    ] {
        let mut client = memory.connect(subprotocol);
        client.send_binary(message.to_vec());
        let Some(Outgoing::Binary(reply)) = client.wait(PATIENCE) else {
            panic!("a binary error is due")
        };
        let is_timed = subprotocol.ends_with("timed");
        let (ok, told, error, _) = binary_reply(&reply, is_timed);
        let error = String::from_utf8(error).unwrap();
        assert!(
            !ok && told == frame && error.contains(words),
            "{frame}: {error}"
        );
    }
    let mut stream = memory.connect("lipsync.v2");
    let open = json!({"type": "open", "stream": 4, "request_id": "a"}).to_string();
    stream.send_binary(open.into_bytes());
    let error = text(stream.wait(PATIENCE));
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("send it as a text message"),
        "{error}"
    );
    assert_eq!(
        (&error["stream"], &error["request_id"]),
        (&4.into(), &"a".into())
    );

    let mut client = memory.connect("");
    client.send_text("\u{feff}{\"type\": \"list_models\"}");
    assert_eq!(text(client.wait(PATIENCE))["type"], "model_list");
    client.send_text(r#"{"type": "list_faces"}"#);
    let error = text(client.wait(PATIENCE));
    assert_eq!(error["code"], "unknown_type");
    assert!(
        error["error"].as_str().unwrap().contains("list_models"),
        "{error}"
    );
}
