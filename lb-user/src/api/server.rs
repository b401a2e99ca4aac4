//! The server of the control socket.
