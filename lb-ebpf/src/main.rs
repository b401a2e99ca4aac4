//! The XDP programs: thin shells around [`lb_ebpf::process`].
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod maps;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
    use aya_log_ebpf::debug;
    use lb_common::{Action, Outcome, TraceRecord};
    use lb_ebpf::{packet::Packet, process};

    use crate::maps::{self, Maps, Uncounted};

    /// Licence of the object: the kernel lets only GPL-compatible programs call some helpers.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    /// The balancer.
    #[xdp]
    pub fn lb(ctx: XdpContext) -> u32 {
        let verdict = process(&mut packet(&ctx), &Maps, &Maps);
        let outcome = verdict.err().unwrap_or(Outcome::Forwarded);
        if matches!(outcome, Outcome::Malformed | Outcome::NoReal | Outcome::Unresolved) {
            debug!(&ctx, "dropped: outcome {}", outcome.index());
        }
        action(outcome)
    }

    /// The balancer for one packet that nobody sent: same code, same tables, nothing counted.
    #[xdp]
    pub fn trace(ctx: XdpContext) -> u32 {
        let verdict = process(&mut packet(&ctx), &Maps, &Uncounted);
        let (outcome, found) = match verdict {
            Ok(forward) => {
                let found = TraceRecord {
                    outcome: Outcome::Forwarded.index(),
                    slot: forward.slot,
                    place: forward.place,
                    rule: forward.rule as u32,
                };
                (Outcome::Forwarded, found)
            }
            Err(outcome) => {
                (outcome, TraceRecord { outcome: outcome.index(), ..TraceRecord::default() })
            }
        };
        maps::record(found);
        action(outcome)
    }

    #[inline(always)]
    fn packet(ctx: &XdpContext) -> Packet<'_> {
        // SAFETY: the context's own bounds; the frame is the program's alone while it runs.
        unsafe { Packet::new(ctx.data() as *mut u8, ctx.data_end() as *mut u8) }
    }

    #[inline(always)]
    fn action(outcome: Outcome) -> u32 {
        match outcome.action() {
            Action::Transmit => xdp_action::XDP_TX,
            Action::Pass => xdp_action::XDP_PASS,
            Action::Drop => xdp_action::XDP_DROP,
        }
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
