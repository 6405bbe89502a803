//! A network that fails on command, between the capture and a server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread;

/// Passes connections on to a server.
pub(crate) struct Proxy {
    port: u16,
    network: Arc<Network>,
}

#[derive(Default)]
struct Network {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whoever passes bytes on owns them: with the last of those they are closed, also for the server.
    open: Vec<Weak<TcpStream>>,
    /// How many connections there were.
    made: usize,
    /// What the server sends on these connections is held back, but acknowledged.
    silent: Range<usize>,
    /// Connections are closed as soon as they are made.
    down: bool,
    /// How many bytes from the server may still pass before every connection is cut.
    allowance: Option<usize>,
}

impl Proxy {
    /// A proxy for the server on `port` of this machine.
    pub(crate) fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = Arc::new(Network::default());
        let shared = Arc::clone(&network);
        thread::spawn(move || {
            for client in listener.incoming() {
                shared.join(client.unwrap(), server);
            }
        });
        Self { port, network }
    }

    /// `url`, through the proxy.
    pub(crate) fn through(&self, url: &str) -> String {
        let (before, after) = url.rsplit_once(':').unwrap();
        let (_, database) = after.split_once('/').unwrap();
        format!("{before}:{}/{database}", self.port)
    }

    /// Cuts every connection after the server has sent `bytes` more.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.network.state().allowance = Some(bytes);
    }

    /// Holds back what the server sends, until [`restore`](Self::restore).
    pub(crate) fn fall_silent(&self) {
        self.fall_silent_on(0..usize::MAX);
    }

    /// [Falls silent](Self::fall_silent) on some connections only, counted from the first one there was.
    pub(crate) fn fall_silent_on(&self, connections: Range<usize>) {
        self.network.state().silent = connections;
    }

    /// Cuts every connection, and those that are made until [`restore`](Self::restore).
    pub(crate) fn go_down(&self) {
        let mut state = self.network.state();
        state.down = true;
        state.cut();
    }

    #[allow(dead_code, reason = "not every test program counts them")]
    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.network.state().made
    }

    /// Works again.
    pub(crate) fn restore(&self) {
        let mut state = self.network.state();
        (state.silent, state.down, state.allowance) = (0..0, false, None);
        self.network.changed.notify_all();
    }
}

impl State {
    fn cut(&mut self) {
        for stream in self.open.drain(..).filter_map(|stream| stream.upgrade()) {
            // It may be closed already.
            let _closed = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn join(self: &Arc<Self>, client: TcpStream, server: u16) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
            return;
        };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let mut state = self.state();
        if state.down {
            return;
        }
        let (client, server) = (Arc::new(client), Arc::new(server));
        state.open.retain(|stream| stream.strong_count() > 0);
        state.open.extend([&client, &server].map(Arc::downgrade));
        let number = state.made;
        state.made += 1;
        let (up, from, to) = (Arc::clone(self), Arc::clone(&client), Arc::clone(&server));
        thread::spawn(move || up.pass(&from, &to, None));
        let down = Arc::clone(self);
        thread::spawn(move || down.pass(&server, &client, Some(number)));
    }

    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream, server: Option<usize>) {
        let mut buffer = [0; 16 << 10];
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            if server.is_some_and(|number| !self.admits(number, bytes)) {
                break;
            }
            if to.write_all(&buffer[..bytes]).is_err() {
                break;
            }
        }
        // What one side has closed, the other sees closed.
        let _closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Whether that many bytes from the server pass; waits while the connection is silent.
    fn admits(&self, number: usize, bytes: usize) -> bool {
        let mut state = self
            .changed
            .wait_while(self.state(), |state| state.silent.contains(&number))
            .unwrap();
        let Some(allowance) = &mut state.allowance else {
            return true;
        };
        match allowance.checked_sub(bytes) {
            Some(left) => *allowance = left,
            None => {
                state.allowance = None;
                state.cut();
                return false;
            }
        }
        true
    }
}
