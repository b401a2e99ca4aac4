//! That a TCP connection is accepted.

use super::{
    Failure, Target,
    socket::{Clock, connect},
};

pub(super) async fn probe(target: &Target, port: u16, clock: &Clock) -> Result<String, Failure> {
    connect(target, port, clock).await?;
    Ok("connected".to_owned())
}
