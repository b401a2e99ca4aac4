//! The client of the control socket.
