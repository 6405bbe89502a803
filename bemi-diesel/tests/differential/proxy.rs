//! Counts how often a client waits for the server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes connections on to a server, and reads along.
pub(crate) struct Proxy {
    port: u16,
    round_trips: Arc<AtomicUsize>,
}

/// What one connection is about.
struct Seen {
    round_trips: Arc<AtomicUsize>,
    /// Whether the client has sent anything that it waits for since the last `Sync`.
    asks: bool,
    /// Whether the server has said anything since the client last began to wait.
    answered: bool,
}

impl Proxy {
    /// A proxy for the server on `port` of this machine.
    pub(crate) fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let round_trips = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&round_trips);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a connection");
                let server = TcpStream::connect(("127.0.0.1", server)).expect("a server");
                let (to_client, to_server) = (clone(&client), clone(&server));
                let seen = Arc::new(Mutex::new(Seen {
                    round_trips: Arc::clone(&shared),
                    asks: false,
                    answered: true,
                }));
                let (sent, answered) = (Arc::clone(&seen), seen);
                // What a connection begins with has a length, but no type.
                let sending = Messages::new(Head::Startup);
                thread::spawn(move || pass(client, to_server, sending, &sent, Seen::sent));
                let answering = Messages::new(Head::Typed);
                thread::spawn(move || {
                    // A client may go on when it has seen the end of its command, without waiting for
                    // the server to be ready.
                    pass(server, to_client, answering, &answered, |seen, _| {
                        seen.answered = true
                    });
                });
            }
        });
        Self { port, round_trips }
    }

    /// `url`, through the proxy.
    pub(crate) fn through(&self, url: &str) -> String {
        let (before, after) = url.rsplit_once(':').expect("a port");
        let (_, database) = after.split_once('/').expect("a database");
        format!("{before}:{}/{database}", self.port)
    }

    /// How often a client has sent something, and waited for the answer, since the last call.
    pub(crate) fn round_trips(&self) -> usize {
        self.round_trips.swap(0, Ordering::Relaxed)
    }
}

impl Seen {
    /// The client has sent a message of this type.
    fn sent(&mut self, kind: u8) {
        match kind {
            // A statement that is no longer needed is closed without anybody waiting.
            b'C' => {}
            b'S' | b'Q' => {
                // More than one may be on the way before the first answer: that is one wait.
                let asks = std::mem::take(&mut self.asks) || kind == b'Q';
                if asks && std::mem::take(&mut self.answered) {
                    self.round_trips.fetch_add(1, Ordering::Relaxed);
                }
            }
            _ => self.asks = true,
        }
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.set_nodelay(true).expect("an option");
    stream.try_clone().expect("a second handle")
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    mut messages: Messages,
    seen: &Mutex<Seen>,
    note: impl Fn(&mut Seen, u8),
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        let mut seen = seen.lock().expect("no panic");
        messages.read(&buffer[..bytes], |kind| note(&mut seen, kind));
        drop(seen);
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    // What one side has closed, the other sees closed.
    let _closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Where one [message] ends and the next begins.
///
/// [message]: https://www.postgresql.org/docs/current/protocol-message-formats.html
struct Messages {
    head: Head,
    read: Vec<u8>,
    /// How many bytes of the current message's body are still to come.
    body: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    Startup,
    Typed,
}

impl Messages {
    fn new(head: Head) -> Self {
        Self {
            head,
            read: Vec::new(),
            body: 0,
        }
    }

    /// Calls `found` with the type of each message that begins in `bytes`.
    fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8)) {
        while !bytes.is_empty() {
            let skipped = self.body.min(bytes.len());
            self.body -= skipped;
            bytes = &bytes[skipped..];
            let Some((byte, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            self.read.push(*byte);
            let kind = usize::from(self.head == Head::Typed);
            if let Some(length) = self.read.get(kind..kind + 4) {
                let length: [u8; 4] = length.try_into().expect("four bytes");
                self.body = u32::from_be_bytes(length) as usize - length.len();
                if self.head == Head::Typed {
                    found(self.read[0]);
                }
                self.head = Head::Typed;
                self.read.clear();
            }
        }
    }
}
