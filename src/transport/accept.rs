//! The listeners' thread: accepts, caps, and joins the threads of the connections.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{self, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::base::event_queue::{EventQueue, EventSender, event_queue};
use crate::base::ids::ConnectionId;
use crate::base::limits::Limits;
use crate::base::poll::{Interest, until, wait_any};
use crate::base::shutdown::Shutdown;

use super::connection;
use super::http::Response;
use super::service::Service;
use super::shared::{Notice, Shared};

/// Pause after a failed accept: "out of descriptors" would come again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a refused connection is kept, so that its client can read why: a round trip of any network.
const REFUSED_FOR: Duration = Duration::from_millis(500);
/// Most refused connections that are kept, each a descriptor; beyond it the oldest is cut.
pub const MAX_REFUSED: usize = 16;
/// Stack of a connection's thread. Only the pages that it touches become resident.
const STACK_BYTES: usize = 512 * 1024;

/// Why the transport could not start.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A listener's address or mode.
    #[error("cannot listen: {0}")]
    Listener(#[source] io::Error),
    /// No thread or descriptor for the listeners.
    #[error("no thread or descriptor left to listen with: {0}")]
    Resources(#[source] io::Error),
}

/// A server that accepts connections until it is stopped or dropped.
pub struct Server {
    addresses: Vec<SocketAddr>,
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `service` to whoever connects to one of `listeners`.
    ///
    /// # Errors
    /// [`TransportError`]
    pub fn start<S: Service>(
        listeners: Vec<TcpListener>,
        service: Arc<S>,
        limits: &Limits,
        shutdown: Shutdown,
    ) -> Result<Server, TransportError> {
        let mut addresses = Vec::with_capacity(listeners.len());
        for listener in &listeners {
            let address = listener
                .set_nonblocking(true)
                .and_then(|()| listener.local_addr())
                .map_err(TransportError::Listener)?;
            addresses.push(address);
        }
        let (exited, exits) =
            event_queue(limits.max_connections as usize).map_err(TransportError::Resources)?;
        let acceptor = Acceptor {
            shared: Arc::new(Shared::new(service, limits.clone(), shutdown.clone())),
            threads: HashMap::new(),
            refused: VecDeque::new(),
            exited,
            next_id: 0,
        };
        let thread = thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || acceptor.run(&listeners, &exits))
            .map_err(TransportError::Resources)?;
        Ok(Server {
            addresses,
            shutdown,
            thread: Some(thread),
        })
    }

    /// Where it listens, with the ports that the system chose, in the listeners' order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The first of [`Server::addresses`].
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Stops accepting, lets every connection finish within its limits, and waits for them.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shutdown.trigger();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

struct Acceptor<S> {
    shared: Arc<Shared<S>>,
    threads: HashMap<ConnectionId, JoinHandle<()>>,
    refused: VecDeque<(Instant, TcpStream)>,
    exited: EventSender<ConnectionId>,
    next_id: u64,
}

/// Tells the acceptor that a connection's thread is about to end, however it ends.
struct ExitNotice(EventSender<ConnectionId>, ConnectionId);

impl Drop for ExitNotice {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

impl<S: Service> Acceptor<S> {
    fn run(mut self, listeners: &[TcpListener], exits: &EventQueue<ConnectionId>) {
        let shutdown = self.shared.shutdown.clone();
        let mut interests: Vec<Interest<'_>> = listeners.iter().map(Interest::read).collect();
        interests.extend([Interest::read(exits), Interest::read(&shutdown)]);
        while !shutdown.is_triggered() {
            let oldest = self.refused.front().map(|(at, _)| *at + REFUSED_FOR);
            if let Err(error) = wait_any(&interests, until([oldest], Instant::now())) {
                if let Some(more) = self.shared.notice(Notice::Wait) {
                    log::error!("the listeners cannot wait: {error}{more}");
                }
                shutdown.wait(Some(ACCEPT_PAUSE));
            }
            self.reap(exits);
            self.forget_refused(Instant::now());
            for listener in listeners {
                self.accept(listener, &shutdown);
            }
        }
        // Connections end by themselves: they wait for the same shutdown, and all their times are limited.
        for (_, thread) in self.threads.drain() {
            let _ = thread.join();
        }
    }

    fn accept(&mut self, listener: &TcpListener, shutdown: &Shutdown) {
        match listener.accept() {
            Ok((stream, peer)) => self.admit(stream, peer),
            Err(error) => match error.kind() {
                // Nobody is there, a signal came, or the client has gone meanwhile: the next is taken at once.
                io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionAborted => {}
                kind => {
                    if let Some(more) = self.shared.notice(Notice::Accept(kind)) {
                        log::warn!("a connection could not be accepted: {error}{more}");
                    }
                    shutdown.wait(Some(ACCEPT_PAUSE));
                }
            },
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let limit = self.shared.limits.max_connections as usize;
        if self.threads.len() >= limit {
            if let Some(more) = self.shared.notice(Notice::TooMany) {
                log::warn!(
                    "{peer} refused: {limit} connections are open (--max-connections){more}"
                );
            }
            return self.refuse(stream, "the server has as many connections as it may");
        }
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        // Shared until the thread runs, so that one descriptor is enough.
        let stream = Arc::new(stream);
        let (shared, connection) = (self.shared.clone(), stream.clone());
        let exit = ExitNotice(self.exited.clone(), id);
        let thread = thread::Builder::new()
            .name(format!("connection {}", id.0))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _exit = exit;
                connection::serve(&connection, peer, id, &shared);
            });
        match thread {
            Ok(thread) => {
                self.threads.insert(id, thread);
            }
            Err(error) => {
                if let Some(more) = self.shared.notice(Notice::Threads) {
                    log::error!("no thread for {peer}: {error}{more}");
                }
                if let Some(stream) = Arc::into_inner(stream) {
                    self.refuse(stream, "the server has no thread left");
                }
            }
        }
    }

    /// Says 503 without ever waiting, and keeps the socket for a moment: closing it while the request
    /// is unread would reset the connection before the client has seen the answer.
    fn refuse(&mut self, mut stream: TcpStream, why: &str) {
        self.shared.service.on_refused();
        let response = Response::text(503, why).with("Retry-After", "1");
        let mut bytes = response.head(false, SystemTime::now());
        bytes.extend_from_slice(&response.body);
        let sent = stream
            .set_nonblocking(true)
            .and_then(|()| stream.write_all(&bytes))
            .and_then(|()| stream.shutdown(net::Shutdown::Write));
        if sent.is_ok() {
            if self.refused.len() == MAX_REFUSED {
                self.refused.pop_front();
            }
            self.refused.push_back((Instant::now(), stream));
        }
    }

    fn forget_refused(&mut self, now: Instant) {
        while let Some((at, _)) = self.refused.front() {
            if now < *at + REFUSED_FOR {
                break;
            }
            if let Some((_, mut stream)) = self.refused.pop_front() {
                let _ = stream.read(&mut [0; 4096]);
            }
        }
    }

    fn reap(&mut self, exits: &EventQueue<ConnectionId>) {
        exits.clear_wakeup();
        while let Some(id) = exits.take() {
            if let Some(thread) = self.threads.remove(&id) {
                let _ = thread.join();
            }
        }
    }
}
