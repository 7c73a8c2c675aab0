//! The server as a process: signals, a log that nobody reads, few descriptors, hosts by name.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PATIENCE, connect, eventually, get};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lipsyncd");

/// A server in a process of its own, ended with its test.
struct Process {
    child: Child,
    addresses: Vec<SocketAddr>,
    log: BufReader<ChildStderr>,
    /// What it has logged until it was ready.
    said: String,
}

impl Process {
    /// Starts it with `arguments` on a free port, by the shell after `setup`, and waits until it is ready.
    fn start(setup: &str, arguments: &[&str]) -> Process {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{setup} exec \"$@\""), "sh", PROGRAM])
            .args(["--port", "0", "--workers", "1", "--models"])
            .arg(crate::packages::packages_folder())
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !(said.contains("ready: ") && said.contains("listening on ")) {
            let count = log.read_line(&mut said).unwrap();
            assert!(count > 0, "it has ended: {said}");
        }
        let addresses = said
            .split(|c: char| c.is_whitespace())
            .filter_map(|word| {
                word.strip_prefix("http://")?
                    .strip_suffix('/')?
                    .parse()
                    .ok()
            })
            .collect();
        Process {
            child,
            addresses,
            log,
            said,
        }
    }

    fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    fn is_healthy(&self) -> bool {
        get(self.address(), "/healthz", "").0 == 200
    }

    /// Ends it in order; what it has logged meanwhile.
    fn end(mut self) -> String {
        self.signal(Signal::TERM);
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{rest}");
        rest
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Case net/18: started with nohup, or not: a terminal that is closed does not end the server.
#[test]
fn sighup_does_not_end_it() {
    let nohup = Process::start("trap '' HUP;", &[]);
    nohup.signal(Signal::HUP);
    let mut plain = Process::start("", &[]);
    plain.signal(Signal::HUP);
    let mut line = String::new();
    plain.log.read_line(&mut line).unwrap();
    assert!(line.contains("SIGHUP"), "{line}");
    assert!(nohup.is_healthy() && plain.is_healthy());
    let rest = nohup.end();
    assert!(
        !rest.contains("SIGHUP") && rest.contains("stopped"),
        "{rest}"
    );
    plain.end();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut process = Process::start("", &["--drain-ms", "60000"]);
    // Responses that nobody reads, more than all buffers on their way hold, keep the first signal from ending it.
    let mut busy = connect(process.address());
    let ask = b"GET /samples/english.wav HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..200 {
        busy.write_all(ask).unwrap();
    }
    busy.read_exact(&mut [0; 12]).unwrap();
    process.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    assert!(process.child.try_wait().unwrap().is_none(), "it drains");
    process.signal(Signal::INT);
    assert_eq!(process.child.wait().unwrap().code(), Some(130));
}

/// Case net/19: whoever has started it reads its log until it is ready, and no further.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let process = Process::start("", &["--log", "debug"]);
    let handshake = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    // Each is a line of about 100 bytes when it ends; a pipe holds 64 KiB.
    for _ in 0..1000 {
        let mut stream = connect(process.address());
        stream.write_all(handshake).unwrap();
        stream.read_exact(&mut [0; 12]).unwrap();
    }
    assert!(process.is_healthy());
    // Read again, it tells everything that it kept, and ends in order.
    let rest = process.end();
    assert!(
        rest.len() > 65_536 && rest.contains("stopped"),
        "{}",
        rest.len()
    );
}

/// Case net/20: 64 descriptors and 60 clients. Who is let in is served, who is not is told, and the log stays short.
#[test]
fn few_descriptors_are_a_cap_on_connections() {
    let process = Process::start("ulimit -n 64;", &[]);
    assert!(process.said.contains("ulimit -n"), "{}", process.said);
    let mut served = Vec::new();
    let mut refused = 0;
    for _ in 0..60 {
        let stream = connect(process.address());
        let request = format!("ws://{}/ws", process.address());
        match tungstenite::client(request, stream) {
            Ok((mut client, _)) => {
                client.send(r#"{"type": "list_models"}"#.into()).unwrap();
                assert!(client.read().unwrap().is_text());
                served.push(client);
            }
            Err(error) => {
                assert!(error.to_string().contains("503"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(
        served.len() >= 10 && refused > 0,
        "{} {refused}",
        served.len()
    );
    served.clear();
    eventually("room again", || process.is_healthy());
    let rest = process.end();
    assert!(rest.lines().count() < 12, "{rest}");
}

/// Case net/52: hosts by name, and several of them.
#[test]
fn hosts_may_be_names_and_several() {
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let named = Process::start("", &["--host", "localhost,127.0.0.2"]);
    let port = named.address().port();
    let mut expected = vec![format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}")];
    if has_ipv6 {
        expected.push(format!("[::1]:{port}"));
    }
    assert_eq!(named.addresses.len(), expected.len(), "{}", named.said);
    for address in expected {
        let address: SocketAddr = address.parse().unwrap();
        assert_eq!(get(address, "/healthz", "").0, 200, "{address}");
    }
    named.end();
    for (host, words) in [
        ("127.0.0.1:9000", "--port 9000"),
        ("no-such-name.invalid", "no address is known"),
    ] {
        let output = Command::new(PROGRAM)
            .args(["--host", host, "--models"])
            .arg(crate::packages::packages_folder())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(words), "{text}");
    }
}

/// Case net/20: refusals are one line a minute, however many there are.
#[test]
fn refused_connections_do_not_flood_the_log() {
    let process = Process::start("", &["--max-connections", "1"]);
    let held = connect(process.address());
    // Its thread runs once it is answered.
    (&held).write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    (&held).read_exact(&mut [0; 12]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    for _ in 0..200 {
        let mut text = String::new();
        let _ = TcpStream::connect(process.address())
            .unwrap()
            .read_to_string(&mut text);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 503 "),
            "{text}"
        );
        assert!(Instant::now() < deadline);
    }
    drop(held);
    eventually("room", || process.is_healthy());
    std::thread::sleep(Duration::from_millis(20));
    let rest = process.end();
    let refusals = rest.lines().filter(|line| line.contains("refused"));
    assert_eq!(refusals.count(), 1, "{rest}");
}
