//! What the kernel knows of a client's connection: how many of the bytes it took the peer has not acknowledged yet,
//! and whether the peer is still there.
//!
//! A message counts as delivered when the *recipient's* kernel has acknowledged its bytes, so this is what delivery
//! rests on. Two traps, both measured:
//!
//! - After a reset the count of unacknowledged bytes says nothing about what the peer's program can still read: it reads
//!   0 where its kernel had taken everything and then thrown it away. So the count is taken first and the state of the
//!   socket asked afterwards: only a count from a socket that was still open afterwards is believed.
//! - `TCP_USER_TIMEOUT` also cuts a peer that is there and answers, but does not read (measured: 2.6 s with a timeout
//!   of 2 s). A slow reader must not be cut, so that option is not used. The kernel's own count of attempts that got no
//!   answer tells the two apart: a living peer answers every probe of its closed window.
//!
//! Left out: any platform but Linux.

use std::io;

/// The sending side of a connection, as far as delivery needs to know it.
pub trait Kernel {
    /// What the kernel knows now.
    ///
    /// # Errors
    /// The connection is over: reset, closed, or the peer has vanished. Nothing may be concluded about what arrived.
    fn unacknowledged(&self) -> io::Result<u64>;
}

/// After so many attempts in a row without any answer the peer has vanished: about 25 s on a fast network, because the
/// kernel doubles its pause from 200 ms each time.
pub const UNANSWERED_ATTEMPTS_MAX: u8 = 7;

impl Kernel for tokio::net::tcp::OwnedWriteHalf {
    fn unacknowledged(&self) -> io::Result<u64> {
        unacknowledged(self.as_ref())
    }
}

/// See [`Kernel::unacknowledged`].
///
/// # Errors
/// As there.
pub fn unacknowledged(socket: &impl std::os::fd::AsRawFd) -> io::Result<u64> {
    let bytes = syscalls::send_queue_bytes(socket.as_raw_fd())?;
    let state = syscalls::state(socket.as_raw_fd())?;
    if !state.open {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    if state.unanswered > UNANSWERED_ATTEMPTS_MAX {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(bytes)
}

#[allow(unsafe_code, reason = "neither rustix nor socket2 wraps SIOCOUTQ and TCP_INFO")]
mod syscalls {
    use std::io;
    use std::mem::{MaybeUninit, size_of};
    use std::os::fd::RawFd;

    /// `TCP_CLOSE` of the kernel's `tcp_states.h`: reset, timed out, or closed from both sides.
    const TCP_CLOSE: u8 = 7;

    pub(super) struct State {
        pub(super) open: bool,
        pub(super) unanswered: u8,
    }

    /// Bytes written and not yet acknowledged, sent or not (`SIOCOUTQ`, which is `TIOCOUTQ`).
    pub(super) fn send_queue_bytes(fd: RawFd) -> io::Result<u64> {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the request writes one int through a pointer that is valid for the call; a wrong descriptor is an
        // error, not undefined.
        let result = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// The part of `TCP_INFO` that has been there since its first version.
    pub(super) fn state(fd: RawFd) -> io::Result<State> {
        let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
        let mut len = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).expect("a small struct");
        // SAFETY: the kernel writes at most `len` bytes into memory of that size.
        let result =
            unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: zeroed above, and every field is a plain integer.
        let info = unsafe { info.assume_init() };
        let unanswered = info.tcpi_retransmits.saturating_add(info.tcpi_probes);
        Ok(State { open: info.tcpi_state != TCP_CLOSE, unanswered })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (server, _) = listener.accept().expect("a connection waits");
        (server, client)
    }

    /// Asks until `done`, which must be soon.
    fn until(server: &TcpStream, done: impl Fn(&io::Result<u64>) -> bool) -> io::Result<u64> {
        let give_up = Instant::now() + Duration::from_secs(5);
        loop {
            let now = unacknowledged(server);
            if done(&now) || Instant::now() > give_up {
                return now;
            }
            std::thread::yield_now();
        }
    }

    fn fill(server: &mut TcpStream) -> u64 {
        server.set_nonblocking(true).expect("a socket");
        let mut written = 0;
        let mut tries_without_room = 0;
        while tries_without_room < 20 {
            match server.write(&[b'x'; 65536]) {
                Ok(n) => written += n as u64,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    tries_without_room += 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
        written
    }

    #[test]
    fn what_fits_the_peers_kernel_is_acknowledged_though_nobody_reads() {
        let (mut server, _client) = pair();
        server.write_all(&[b'x'; 1000]).expect("room");
        assert_eq!(until(&server, |now| matches!(now, Ok(0))).expect("open"), 0);
    }

    #[test]
    fn what_does_not_fit_is_not_acknowledged_until_it_is_read() {
        let (mut server, mut client) = pair();
        let written = fill(&mut server);
        let left = unacknowledged(&server).expect("open");
        assert!(left > 0 && left < written, "{left} of {written}");
        let reader = std::thread::spawn(move || {
            let mut read = 0;
            let mut buffer = [0; 65536];
            while read < written {
                read += client.read(&mut buffer).expect("open") as u64;
            }
            client
        });
        assert_eq!(until(&server, |now| matches!(now, Ok(0))).expect("open"), 0);
        drop(reader.join().expect("read it all"));
    }

    #[test]
    fn after_a_reset_nothing_is_believed() {
        let (mut server, client) = pair();
        server.write_all(b"lost").expect("room");
        until(&server, |now| matches!(now, Ok(0))).expect("open");
        // Unread data: closing resets.
        drop(client);
        assert!(until(&server, Result::is_err).is_err());
    }

    #[test]
    fn a_half_closed_peer_still_acknowledges() {
        let (mut server, client) = pair();
        client.shutdown(std::net::Shutdown::Write).expect("open");
        server.write_all(b"still heard").expect("room");
        assert_eq!(until(&server, |now| matches!(now, Ok(0))).expect("open"), 0);
    }
}
