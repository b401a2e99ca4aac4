//! The XDP programs: thin shells around [`lb_ebpf::process`].
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod maps;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
    use aya_log_ebpf::debug;
    use lb_common::{Action, Outcome, TraceRecord};
    use lb_ebpf::{Ended, Forward, decide, packet::Frame, tables::Tables as _};

    use crate::maps::{self, Live, Maps, Uncounted};

    /// Licence of the object: the kernel lets only GPL-compatible programs call some helpers.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    /// The balancer, also of jumbo frames in several buffers.
    #[xdp(frags)]
    pub fn lb(ctx: XdpContext) -> u32 {
        balance(&ctx, &mut Live::<true>(&ctx))
    }

    /// The balancer for kernels before 5.18, where a frame is one buffer.
    #[xdp]
    pub fn lb_linear(ctx: XdpContext) -> u32 {
        balance(&ctx, &mut Live::<false>(&ctx))
    }

    /// The balancer for one packet that nobody sent: same code, same tables, nothing counted.
    ///
    /// (The kernel wants all programs that share a table of devices to have fragments, or none of
    /// them: `bpf_prog_map_compatible`, kernel/bpf/core.c.)
    #[xdp(frags)]
    pub fn trace(ctx: XdpContext) -> u32 {
        follow(&mut Live::<true>(&ctx))
    }

    /// The same for kernels before 5.18.
    #[xdp]
    pub fn trace_linear(ctx: XdpContext) -> u32 {
        follow(&mut Live::<false>(&ctx))
    }

    #[inline(always)]
    fn balance(ctx: &XdpContext, frame: &mut impl Frame) -> u32 {
        let Ended { outcome, forward } = decide(frame, &Maps::<true>, &Maps::<true>);
        if matches!(outcome, Outcome::Malformed | Outcome::NoReal | Outcome::Unresolved) {
            tell(ctx, outcome.index());
        }
        action(outcome, &forward)
    }

    /// Not inlined: a log has its own buffer on the stack.
    #[inline(never)]
    fn tell(ctx: &XdpContext, outcome: u32) {
        debug!(ctx, "dropped: outcome {}", outcome);
    }

    #[inline(always)]
    fn follow(frame: &mut impl Frame) -> u32 {
        let Ended { outcome, forward } = decide(frame, &Maps::<false>, &Uncounted);
        let Forward { slot, place, rule, .. } = forward;
        maps::record(TraceRecord { outcome: outcome.index(), slot, place, rule: rule as u32 });
        action(outcome, &forward)
    }

    #[inline(always)]
    fn action(outcome: Outcome, forward: &Forward) -> u32 {
        if outcome == Outcome::Forwarded && forward.port != Maps::<true>.port_number() {
            return xdp_action::XDP_REDIRECT;
        }
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
