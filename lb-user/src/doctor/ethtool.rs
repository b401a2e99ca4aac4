//! What the drivers say: which features of an interface are on, and whether it takes XDP programs. By
//! generic netlink; a kernel that does not know a question leaves it unanswered, and so nothing is claimed.

use std::{collections::BTreeSet, io};

use ethtool::{EthtoolAttr, EthtoolFeatureAttr};
use futures_util::TryStreamExt as _;
use genetlink::GenetlinkHandle;
use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, Nla as _,
    NlasIterator, ParseableParametrized,
};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};

/// The names, as `ethtool -k` has them or longer, of the features that are on.
pub(super) async fn features(interface: &str) -> io::Result<BTreeSet<String>> {
    let (connection, mut handle, _) = ethtool::new_connection()?;
    let connection = tokio::spawn(connection);
    let answers = async {
        let answers = handle.feature().get(Some(interface)).execute().await?;
        answers.try_collect::<Vec<_>>().await
    };
    let answers = answers.await.map_err(io::Error::other);
    connection.abort();
    let attributes = answers?.into_iter().flat_map(|message| message.payload.nlas);
    let active = attributes.filter_map(|attribute| match attribute {
        EthtoolAttr::Feature(EthtoolFeatureAttr::Active(bits)) => Some(bits),
        _ => None,
    });
    Ok(active.flatten().filter(|bit| bit.value).map(|bit| bit.name).collect())
}

/// The family `netdev` of linux/netdev.h, as far as it is asked here: `NETDEV_CMD_DEV_GET`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device(Vec<DefaultNla>);

const DEV_GET: u8 = 1;
/// `NETDEV_A_DEV_IFINDEX`.
const IFINDEX: u16 = 1;
/// `NETDEV_A_DEV_XDP_FEATURES`.
const XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC`: all that a program can do but redirects.
const BASIC: u64 = 1;

impl GenlFamily for Device {
    fn family_name() -> &'static str {
        "netdev"
    }

    fn command(&self) -> u8 {
        DEV_GET
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for Device {
    fn buffer_len(&self) -> usize {
        self.0.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.0.as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Device {
    fn parse_with_param(buffer: &[u8], _: GenlHeader) -> Result<Self, DecodeError> {
        use netlink_packet_core::Parseable as _;
        let attributes = NlasIterator::new(buffer);
        attributes
            .map(|attribute| DefaultNla::parse(&attribute?))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Whether the driver takes XDP programs; `None` where the kernel (before 6.3) does not say.
pub(super) async fn takes_xdp(index: u32) -> Option<bool> {
    let (connection, handle, _) = genetlink::new_connection().ok()?;
    let connection = tokio::spawn(connection);
    let answer = device(handle, index).await;
    connection.abort();
    let features = answer?.0.into_iter().find(|attribute| attribute.kind() == XDP_FEATURES)?;
    let mut value = [0; 8];
    if features.value_len() != value.len() {
        return None;
    }
    features.emit_value(&mut value);
    Some(u64::from_ne_bytes(value) & BASIC != 0)
}

async fn device(mut handle: GenetlinkHandle, index: u32) -> Option<Device> {
    let question = Device(vec![DefaultNla::new(IFINDEX, index.to_ne_bytes().to_vec())]);
    let mut message = NetlinkMessage::from(GenlMessage::from_payload(question));
    message.header.flags = NLM_F_REQUEST;
    let answers = handle.request(message).await.ok()?;
    let mut answers = std::pin::pin!(answers);
    match answers.try_next().await.ok()??.payload {
        NetlinkPayload::InnerMessage(message) => Some(message.payload),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::neighbour::netns::{Cable, eth0};

    #[test]
    fn features_are_as_ethtool_has_set_them() {
        let Cable { balancer, machine: _there } = Cable::new();
        for (word, is_on) in [("on", true), ("off", false)] {
            let set = || Command::new("ethtool").args(["-K", "eth0", "rxvlan", word]).status();
            assert!(balancer.run(set).expect("ethtool").success());
            let features = balancer.run_async(async || features("eth0").await.unwrap());
            assert_eq!(features.contains("rx-vlan-hw-parse"), is_on, "{features:?}");
        }
        balancer.run_async(async || assert!(features("eth7").await.is_err()));
    }

    #[test]
    fn a_driver_says_whether_it_takes_programs() {
        let Cable { balancer, machine: _there } = Cable::new();
        balancer.run_async(async || {
            let lo = nix::net::if_::if_nametoindex("lo").unwrap();
            assert!(matches!(takes_xdp(eth0()).await, Some(true) | None));
            assert!(matches!(takes_xdp(lo).await, Some(false) | None));
            assert_eq!(takes_xdp(9999).await, None);
        });
    }
}
