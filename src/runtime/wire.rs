//! A connection between two processes, plain or encrypted.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsStream;

/// What is on its way between timely and the encryption, in each direction.
const ON_THE_WAY: usize = 64 << 10;

/// A connection, as the mesh sees it.
pub enum Wire {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Whether the other side has closed it. Asked while the other side has nothing to say.
    pub fn is_gone(&self) -> bool {
        let socket = match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(stream) => stream.get_ref().0,
        };
        matches!(socket.peek(&mut [0]).now_or_never(), Some(Ok(0) | Err(_)))
    }

    /// As timely needs it: blocking, and split into a side that reads and one that writes. Where it is encrypted, a
    /// task goes between, on the runtime of the caller.
    pub fn into_socket(self) -> io::Result<(Socket, Option<JoinHandle<()>>)> {
        match self {
            Wire::Plain(socket) => {
                let socket = socket.into_std()?;
                socket.set_nonblocking(false)?;
                Ok((Socket::Tcp(socket), None))
            }
            Wire::Tls(mut stream) => {
                let (near, far) = UnixStream::pair()?;
                far.set_nonblocking(true)?;
                let mut far = tokio::net::UnixStream::from_std(far)?;
                let between = tokio::spawn(async move {
                    // Whichever side ends, the other learns of it when this is dropped.
                    let _ = copy_bidirectional_with_sizes(&mut far, &mut stream, ON_THE_WAY, ON_THE_WAY).await;
                });
                Ok((Socket::Local(near), Some(between)))
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A connection, as timely's threads see it.
pub enum Socket {
    /// To the other process.
    Tcp(std::net::TcpStream),
    /// To the task that encrypts.
    Local(UnixStream),
}

impl Socket {
    /// A second handle of the same connection.
    pub fn try_clone(&self) -> io::Result<Socket> {
        Ok(match self {
            Socket::Tcp(socket) => Socket::Tcp(socket.try_clone()?),
            Socket::Local(socket) => Socket::Local(socket.try_clone()?),
        })
    }

    /// Whether calls return at once.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_nonblocking(nonblocking),
            Socket::Local(socket) => socket.set_nonblocking(nonblocking),
        }
    }

    /// Closes one side or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.shutdown(how),
            Socket::Local(socket) => socket.shutdown(how),
        }
    }
}

impl io::Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.read(buffer),
            Socket::Local(socket) => socket.read(buffer),
        }
    }
}

impl io::Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.write(bytes),
            Socket::Local(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.flush(),
            Socket::Local(socket) => socket.flush(),
        }
    }
}
