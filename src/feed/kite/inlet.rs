//! Kite's socket as the WebSocket library reads it: one call of the kernel for all that has arrived, none to learn that
//! there is no more.
//!
//! The library asks until it hears that nothing is there, and clears as much of its buffer as it may need each time. So its
//! buffer is small, and what it asks for is here already.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// Bytes read from the socket at once.
const AHEAD: usize = 64 * 1_024;

/// See the module. **Thread**: whichever has the connection.
#[derive(Debug)]
pub(super) struct Inlet {
    tcp: TcpStream,
    /// Bytes read from the network so far: a large frame on a slow line is alive long before it is complete.
    received: u64,
    /// What was read and has not been asked for: `ahead[begin..end]`.
    ahead: Box<[u8]>,
    begin: usize,
    end: usize,
    /// Edges of readiness are told to [`Self::edge`]. Before, during the handshake, the socket blocks.
    trusting: bool,
    /// The socket may have something. Not after a read that left room in the buffer: whatever comes then has an edge
    /// (epoll(7), on edge-triggered streams).
    ready: bool,
    /// The other side has closed its half: the edge that told so was the last one.
    ending: bool,
}

impl Inlet {
    pub(super) fn new(tcp: TcpStream) -> Self {
        let ahead = vec![0; AHEAD].into();
        Self { tcp, received: 0, ahead, begin: 0, end: 0, trusting: false, ready: true, ending: false }
    }

    /// Bytes read from the network so far.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// From now on each edge of readiness is told.
    pub(super) const fn trust_edges(&mut self) {
        self.trusting = true;
        self.ready = true;
    }

    /// The socket has something; if `ending`, then its end too. Once edges are trusted it is not asked without that.
    pub(super) const fn edge(&mut self, ending: bool) {
        self.ready = true;
        self.ending |= ending;
    }

    /// Reads what has arrived. An end is found again as often as it is asked for.
    fn read_ahead(&mut self) -> io::Result<()> {
        let read = self.tcp.read(&mut self.ahead);
        let drained = match &read {
            Ok(length) => (1..self.ahead.len()).contains(length),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        self.ready = !drained || !self.trusting || self.ending;
        (self.begin, self.end) = (0, read?);
        self.received += self.end as u64;
        Ok(())
    }
}

impl Read for Inlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.begin == self.end {
            if !self.ready {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.read_ahead()?;
        }
        let length = buffer.len().min(self.end - self.begin);
        buffer[..length].copy_from_slice(&self.ahead[self.begin..self.begin + length]);
        self.begin += length;
        Ok(length)
    }
}

impl Write for Inlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Shutdown, TcpListener};

    /// An inlet that trusts its edges, and the other side.
    fn pair() -> (Inlet, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut inlet = Inlet::new(listener.accept().unwrap().0);
        inlet.trust_edges();
        (inlet, there)
    }

    fn read(inlet: &mut Inlet, length: usize) -> Result<Vec<u8>, ErrorKind> {
        let mut buffer = vec![0; length];
        let read = inlet.read(&mut buffer).map_err(|error| error.kind())?;
        buffer.truncate(read);
        Ok(buffer)
    }

    /// The socket blocks here: a call of the kernel without need would hang.
    #[test]
    fn a_drained_socket_is_not_asked_before_its_next_edge() {
        let (mut inlet, mut there) = pair();
        there.write_all(b"abc").unwrap();
        assert_eq!(read(&mut inlet, 2).unwrap(), b"ab");
        assert_eq!(read(&mut inlet, 2).unwrap(), b"c");
        assert_eq!(read(&mut inlet, 2).unwrap_err(), ErrorKind::WouldBlock);
        there.write_all(b"d").unwrap();
        assert_eq!(read(&mut inlet, 2).unwrap_err(), ErrorKind::WouldBlock);
        inlet.edge(false);
        assert_eq!(read(&mut inlet, 2).unwrap(), b"d");
        assert_eq!(inlet.received(), 4);
    }

    #[test]
    fn an_end_is_found_whether_it_came_with_the_last_bytes_or_after_them() {
        for together in [true, false] {
            let (mut inlet, mut there) = pair();
            there.write_all(b"ab").unwrap();
            if together {
                there.shutdown(Shutdown::Write).unwrap();
            }
            inlet.edge(together);
            assert_eq!(read(&mut inlet, 9).unwrap(), b"ab");
            if !together {
                assert_eq!(read(&mut inlet, 9).unwrap_err(), ErrorKind::WouldBlock);
                there.shutdown(Shutdown::Write).unwrap();
                inlet.edge(true);
            }
            assert_eq!(read(&mut inlet, 9).unwrap(), b"");
            assert_eq!(read(&mut inlet, 9).unwrap(), b"");
        }
    }

    #[test]
    fn a_full_buffer_says_nothing_about_the_socket() {
        let (mut inlet, mut there) = pair();
        let mut sent = vec![7; AHEAD + 1];
        there.write_all(&sent).unwrap();
        while inlet.tcp.peek(&mut sent).unwrap() < AHEAD + 1 {}
        assert_eq!(read(&mut inlet, AHEAD * 2).unwrap().len(), AHEAD);
        assert_eq!(read(&mut inlet, AHEAD * 2).unwrap().len(), 1);
        assert_eq!(read(&mut inlet, 1).unwrap_err(), ErrorKind::WouldBlock);
    }

    #[test]
    fn before_edges_are_told_it_asks_the_socket_each_time() {
        let (mut inlet, mut there) = pair();
        inlet.trusting = false;
        for byte in [b"a", b"b"] {
            there.write_all(byte).unwrap();
            assert_eq!(read(&mut inlet, 9).unwrap(), byte);
        }
    }
}
