//! The balancer with somebody looking on: the same code on the same maps, which hands on what it saw of
//! some frames. It stands in the other's place as long as a capture lasts, so that whoever does not
//! capture pays nothing for it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
#[path = "../maps.rs"]
mod maps;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        EbpfContext as _,
        helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns, generated::bpf_xdp_load_bytes},
        macros::{map, xdp},
        maps::{Array, PerCpuArray, RingBuf},
        programs::XdpContext,
    };
    use lb_common::{
        Action, Bucket, Outcome,
        capture::{Captured, PLACE_WORDS, RATE, RING, SNAP, Sight, Wanted},
    };
    use lb_ebpf::{
        Ended, decide,
        packet::{Frame, Header},
    };

    use crate::maps::{self, Live, MAPPED, Maps};

    /// Licence of the object: the kernel lets only GPL-compatible programs call some helpers.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    /// Of which frames.
    #[map]
    static WANTED: Array<Wanted> = Array::with_max_entries(1, MAPPED);
    #[map]
    static PLACES: Array<u64> = Array::with_max_entries(PLACE_WORDS, MAPPED);
    /// What goes to the daemon.
    #[map]
    static CAPTURED: RingBuf = RingBuf::with_byte_size(RING, 0);
    /// Where it is put together: there is less stack than that.
    #[map]
    static DRAFT: PerCpuArray<Captured> = PerCpuArray::with_max_entries(1, 0);
    /// How many more may go now, on each CPU, of the interface whose object this is.
    #[map]
    static PACE: PerCpuArray<Bucket> = PerCpuArray::with_max_entries(1, 0);
    /// How many were wanted and not handed on.
    #[map]
    static MISSED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

    /// The balancer, also of jumbo frames in several buffers.
    #[xdp(frags)]
    pub fn capture(ctx: XdpContext) -> u32 {
        let frame = &mut Live::<true>(&ctx);
        begin(|sight| load(&ctx, frame.whole(), sight));
        let ended = decide(frame, &Maps::<true>, &Maps::<true>);
        end(&ended, |sight| load(&ctx, frame.whole(), sight));
        maps::action(&ended)
    }

    /// The balancer for kernels before 5.18, where a frame is one buffer.
    #[xdp]
    pub fn capture_linear(ctx: XdpContext) -> u32 {
        let frame = &mut Live::<false>(&ctx);
        begin(|sight| read(frame, sight));
        let ended = decide(frame, &Maps::<true>, &Maps::<true>);
        end(&ended, |sight| read(frame, sight));
        maps::action(&ended)
    }

    /// Takes a look at a frame as it came, if it is one that is looked at. That stands in the draft, of which the
    /// verifier knows nothing: so what comes after is not verified for both cases.
    #[inline(always)]
    fn begin(look: impl FnOnce(&mut Sight)) {
        let (Some(draft), Some(wanted)) = (draft(), wanted()) else {
            return;
        };
        // SAFETY: a helper without preconditions.
        let number = unsafe { bpf_get_prandom_u32() };
        draft.looked_at = u32::from(wanted.sample <= 1 || number % wanted.sample == 0);
        if draft.looked_at != 0 {
            look(&mut draft.came);
        }
    }

    #[inline(always)]
    fn draft() -> Option<&'static mut Captured> {
        // SAFETY: this CPU's value; nothing else on this CPU writes to it while the program runs.
        DRAFT.get_ptr_mut(0).map(|draft| unsafe { &mut *draft })
    }

    /// Hands it on, with what became of it, if it was looked at and is wanted.
    #[inline(always)]
    fn end(ended: &Ended, look: impl FnOnce(&mut Sight)) {
        let Some(draft) = draft().filter(|draft| draft.looked_at != 0 && is_wanted(ended)) else {
            return;
        };
        // SAFETY: a helper without preconditions.
        let now = unsafe { bpf_ktime_get_ns() };
        if !may_go(now) {
            return miss();
        }
        let Ended { outcome, forward } = ended;
        draft.time = now;
        draft.outcome = outcome.index();
        draft.slot = forward.slot;
        draft.place = forward.place;
        draft.rule = forward.rule as u32;
        draft.port = u32::from(forward.port);
        draft.left.taken = 0;
        if outcome.action() == Action::Transmit {
            look(&mut draft.left);
        }
        if CAPTURED.output::<Captured>(&*draft, 0).is_err() {
            miss();
        }
    }

    #[inline(always)]
    fn wanted() -> Option<Wanted> {
        let wanted = WANTED.get_ptr(0)?;
        // SAFETY: a value of the array, which the daemon writes before the program is attached.
        Some(unsafe { wanted.read_volatile() })
    }

    #[inline(always)]
    fn is_wanted(ended: &Ended) -> bool {
        let Some(wanted) = wanted().filter(|wanted| wanted.has(ended.outcome)) else {
            return false;
        };
        if wanted.places == 0 || ended.outcome != Outcome::Forwarded {
            return true;
        }
        let place = ended.forward.place;
        let Some(word) = PLACES.get_ptr(place / 64) else {
            return false;
        };
        // SAFETY: a value of the array, whose words the daemon replaces by single stores.
        unsafe { word.read_volatile() >> (place % 64) & 1 != 0 }
    }

    #[inline(always)]
    fn may_go(now: u64) -> bool {
        let Some(bucket) = PACE.get_ptr_mut(0) else {
            return false;
        };
        // SAFETY: this CPU's value; nothing else on this CPU takes from it while the program runs.
        unsafe { &mut *bucket }.take(now, const { Bucket::cost(RATE) })
    }

    #[inline(always)]
    fn miss() {
        if let Some(missed) = MISSED.get_ptr_mut(0) {
            // SAFETY: this CPU's value; nothing else on this CPU counts while the program runs.
            unsafe { *missed += 1 };
        }
    }

    /// Takes a frame's beginning, whichever buffers it is in.
    #[inline(always)]
    fn load(ctx: &XdpContext, length: u64, sight: &mut Sight) {
        let taken = if length < SNAP as u64 { length as u32 } else { SNAP as u32 };
        (sight.length, sight.taken) = (length as u32, 0);
        // The verifier has to see that something is read, and not too much.
        if taken == 0 || taken > SNAP as u32 {
            return;
        }
        let bytes = sight.bytes.as_mut_ptr().cast();
        // SAFETY: the context that the program was given; there is room for as much.
        if unsafe { bpf_xdp_load_bytes(ctx.as_ptr().cast(), 0, bytes, taken) } == 0 {
            sight.taken = taken;
        }
    }

    /// The same without the helper, which there is since Linux 5.18.
    #[inline(always)]
    fn read(frame: &mut impl Frame, sight: &mut Sight) {
        sight.length = frame.whole() as u32;
        let packet = frame.packet();
        let mut taken = 0;
        while taken + 4 <= SNAP {
            if let Ok(Field { bytes }) = packet.header::<Field<4>>(taken) {
                sight.bytes[taken..taken + 4].copy_from_slice(bytes);
                taken += 4;
                continue;
            }
            // What is left of a frame whose length is no multiple of four.
            if let Ok(Field { bytes }) = packet.header::<Field<2>>(taken) {
                sight.bytes[taken..taken + 2].copy_from_slice(bytes);
                taken += 2;
            }
            if let Ok(Field { bytes: [byte] }) = packet.header::<Field<1>>(taken) {
                sight.bytes[taken] = *byte;
                taken += 1;
            }
            break;
        }
        sight.taken = taken as u32;
    }

    /// Bytes of a frame, whatever they are.
    #[repr(C)]
    struct Field<const N: usize> {
        bytes: [u8; N],
    }

    // SAFETY: bytes only.
    unsafe impl<const N: usize> Header for Field<N> {}

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
