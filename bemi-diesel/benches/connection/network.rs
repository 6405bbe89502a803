//! A network that takes its time.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a byte is on its way. Two of these are a round trip.
pub(crate) const DELAY: Duration = Duration::from_micros(500);

/// Starts a proxy before the server on `port` of this machine that delays each direction by [`DELAY`].
/// Returns the proxy's own port. It lives as long as the process.
///
/// It runs on threads, as tokio's clock does not tell half a millisecond.
pub(crate) fn slow(port: u16) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let own = listener.local_addr()?.port();
    thread::spawn(move || -> io::Result<()> {
        for client in listener.incoming() {
            let client = client?;
            let server = TcpStream::connect(("127.0.0.1", port))?;
            for stream in [&client, &server] {
                stream.set_nodelay(true)?;
            }
            delay(client.try_clone()?, server.try_clone()?);
            delay(server, client);
        }
        Ok(())
    });
    Ok(own)
}

/// Passes on what arrives `from`, [`DELAY`] later. Any number of bytes can be on their way.
fn delay(mut from: TcpStream, mut to: TcpStream) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            let due = Instant::now() + DELAY;
            if sender.send((due, buffer[..bytes].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // The other side may have closed it already.
        let _closed = to.shutdown(Shutdown::Both);
    });
}
