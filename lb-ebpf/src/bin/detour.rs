//! The programs of detours, for an interface's packets after XDP: thin shells around
//! [`lb_ebpf::detour`].
//!
//! An object of its own: the balancer's is loaded once for each of its interfaces, and its tables are
//! large and outlive the daemon.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod programs {
    use core::mem::MaybeUninit;

    use aya_ebpf::{
        bindings::{
            __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_NO_PREALLOC, BPF_F_PSEUDO_HDR,
            BPF_F_RECOMPUTE_CSUM, TC_ACT_SHOT, TC_ACT_UNSPEC,
        },
        helpers::{
            bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes,
        },
        macros::{classifier, map},
        maps::HashMap,
        programs::TcContext,
    };
    use lb_common::{
        detour::{Destination, Prefix, Proxy, ProxyKey},
        limits,
    };
    use lb_ebpf::detour::{Covers, Ip, Skb, Tables, Verdict, arrive, leave};

    /// Licence of the object: the kernel lets only GPL-compatible programs call some helpers.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[map]
    static DESTINATIONS: HashMap<ProxyKey, Destination> =
        HashMap::with_max_entries(limits::DETOURS, BPF_F_NO_PREALLOC);
    #[map]
    static PROXIES: HashMap<Destination, Proxy> =
        HashMap::with_max_entries(limits::DETOURS, BPF_F_NO_PREALLOC);

    /// Set by the loader; constants for the verifier.
    #[unsafe(no_mangle)]
    static PREFIX4: Prefix = Prefix { first: [1; 2], mask: [0; 2] };
    #[unsafe(no_mangle)]
    static PREFIX6: Prefix = Prefix { first: [1; 2], mask: [0; 2] };

    /// What leaves.
    #[classifier]
    pub fn lb_detour_out(ctx: TcContext) -> i32 {
        action(leave(&mut Live(ctx.skb.skb), &Maps))
    }

    /// What arrives.
    #[classifier]
    pub fn lb_detour_in(ctx: TcContext) -> i32 {
        action(arrive(&mut Live(ctx.skb.skb), &Maps))
    }

    /// Whoever else looks at the interface's packets is asked too.
    #[inline(always)]
    fn action(verdict: Verdict) -> i32 {
        match verdict {
            Verdict::Next => TC_ACT_UNSPEC,
            Verdict::Drop => TC_ACT_SHOT as i32,
        }
    }

    /// A packet in the kernel. It is read and written by helpers, which know about its buffers, and who
    /// else has them.
    struct Live(*mut __sk_buff);

    impl Skb for Live {
        #[inline(always)]
        fn interface(&self) -> u32 {
            // SAFETY: the context that the program was given.
            unsafe { (*self.0).ifindex }
        }

        #[inline(always)]
        fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
            // Not zeros: LLVM would call a function that the verifier does not follow.
            let mut bytes = MaybeUninit::<[u8; N]>::uninit();
            let to = bytes.as_mut_ptr().cast();
            // SAFETY: the context that the program was given, and room for so many bytes.
            let result = unsafe { bpf_skb_load_bytes(self.0.cast(), offset as u32, to, N as u32) };
            if result != 0 {
                return None;
            }
            // SAFETY: the helper has written them all.
            Some(unsafe { bytes.assume_init() })
        }

        #[inline(always)]
        fn store<const N: usize>(
            &mut self,
            offset: usize,
            bytes: &[u8; N],
            counts: bool,
        ) -> Option<()> {
            let flags = if counts { u64::from(BPF_F_RECOMPUTE_CSUM) } else { 0 };
            let from = bytes.as_ptr().cast();
            // SAFETY: the context that the program was given, and so many bytes.
            let result =
                unsafe { bpf_skb_store_bytes(self.0.cast(), offset as u32, from, N as u32, flags) };
            (result == 0).then_some(())
        }

        #[inline(always)]
        fn patch_header(&mut self, offset: usize, difference: u32) -> Option<()> {
            // SAFETY: the context that the program was given.
            let result = unsafe {
                bpf_l3_csum_replace(self.0.cast(), offset as u32, 0, difference.into(), 0)
            };
            (result == 0).then_some(())
        }

        #[inline(always)]
        fn patch(&mut self, offset: usize, difference: u32, covers: Covers) -> Option<()> {
            let flags = match covers {
                Covers::Address => BPF_F_PSEUDO_HDR,
                Covers::AddressUnlessZero => BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0,
                Covers::Content => 0,
            };
            // SAFETY: the context that the program was given.
            let result = unsafe {
                let flags = u64::from(flags);
                bpf_l4_csum_replace(self.0.cast(), offset as u32, 0, difference.into(), flags)
            };
            (result == 0).then_some(())
        }
    }

    struct Maps;

    impl Tables for Maps {
        #[inline(always)]
        fn prefix<I: Ip>(&self) -> Prefix {
            let prefix = if I::IS_V6 { &PREFIX6 } else { &PREFIX4 };
            // Volatile, since the compiler knows only the value before the loader's.
            // SAFETY: a reference is valid to read.
            unsafe { core::ptr::read_volatile(prefix) }
        }

        #[inline(always)]
        fn destination(&self, address: &ProxyKey) -> Option<&Destination> {
            // SAFETY: a value of the map, which stays readable while the program runs.
            unsafe { DESTINATIONS.get(address) }
        }

        #[inline(always)]
        fn proxy(&self, destination: &Destination) -> Option<&Proxy> {
            // SAFETY: as above.
            unsafe { PROXIES.get(destination) }
        }
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
