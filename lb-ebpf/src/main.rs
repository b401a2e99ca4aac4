//! The XDP programs: thin shells around [`lb_ebpf::process`].
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod maps;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        macros::{map, xdp},
        maps::Array,
        programs::XdpContext,
    };
    use aya_log_ebpf::debug;
    use lb_common::{Outcome, TraceRecord};
    use lb_ebpf::{Forward, decide, packet::Frame, tables::Count};

    use crate::maps::{self, Live, MAPPED, Maps};

    /// Licence of the object: the kernel lets only GPL-compatible programs call some helpers.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[map]
    static TRACE: Array<TraceRecord> = Array::with_max_entries(1, MAPPED);

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
        let ended = decide(frame, &Maps::<true>, &Maps::<true>);
        if matches!(ended.outcome, Outcome::Malformed | Outcome::NoReal | Outcome::Unresolved) {
            tell(ctx, ended.outcome.index());
        }
        maps::action(&ended)
    }

    /// Not inlined: a log has its own buffer on the stack.
    #[inline(never)]
    fn tell(ctx: &XdpContext, outcome: u32) {
        debug!(ctx, "dropped: outcome {}", outcome);
    }

    #[inline(always)]
    fn follow(frame: &mut impl Frame) -> u32 {
        let ended = decide(frame, &Maps::<false>, &Uncounted);
        let Forward { slot, place, rule, .. } = ended.forward;
        record(TraceRecord { outcome: ended.outcome.index(), slot, place, rule: rule as u32 });
        maps::action(&ended)
    }

    /// Leaves what the trace program found for the daemon to read.
    #[inline(always)]
    fn record(found: TraceRecord) {
        if let Some(record) = TRACE.get_ptr_mut(0) {
            // SAFETY: a value of the array; the daemon runs one trace at a time and reads it after.
            unsafe { *record = found };
        }
    }

    /// Counts nothing: for packets that nobody sent.
    struct Uncounted;

    impl Count for Uncounted {
        #[inline(always)]
        fn outcome(&self, _: Outcome) {}

        #[inline(always)]
        fn steered(&self, _: u32, _: u64, _: bool) {}
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
