//! Programs of the benchmark, which no balancer loads: floors, below which a balancer cannot be, and the wrapper in
//! which a program is measured.
//!
//! The test run of the kernel (`BPF_PROG_TEST_RUN` with `repeat`) gives a program the same frame again and again,
//! as it has left it. So the wrapper stands around it: it makes of the frame the next packet, with the
//! Ethernet addresses that the target has changed, calls the target, and counts what that returns.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        bindings::{BPF_F_MMAPABLE, xdp_action},
        helpers::bpf_ktime_get_ns,
        macros::{map, xdp},
        maps::{Array, DevMap, LruHashMap, PerCpuArray, ProgramArray},
        programs::XdpContext,
    };
    use lb_common::{Outcome, layout::mac_bits};
    use lb_ebpf::{
        bench::{
            Course, FLOOR_BLOCK, FLOOR_DISPLACEMENTS, FLOOR_ENTRIES, FLOOR_FLOWS, FLOOR_OWN_RING,
            FLOOR_POOL, FLOOR_REALS, FLOOR_RING, FloorService, Layout, Stream, floor_bucket,
            floor_entry, floor_hash,
        },
        packet::{Ethernet, Packet, PortPair, set_mac, word16, word32, words64},
    };
    use network_types::{
        eth::EtherType,
        ip::{IpProto, Ipv4Hdr, Ipv6Hdr},
    };

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    /// What the wrapper calls.
    #[map]
    static TARGETS: ProgramArray = ProgramArray::with_max_entries(1, 0);
    #[map]
    static COURSE: Array<Course> = Array::with_max_entries(1, BPF_F_MMAPABLE);

    #[unsafe(no_mangle)]
    static LAYOUT: Layout =
        Layout { client: 0, vip: 0, ports: 0, identification: 0, is_v6: 0, is_quoted: 0 };
    /// What the wrapper believes to have been returned where there is no target.
    #[unsafe(no_mangle)]
    static NO_TARGET: u32 = Course::OTHER as u32;

    /// The tables of the floors.
    #[map]
    static DISPLACEMENTS: Array<u32> = Array::with_max_entries(FLOOR_DISPLACEMENTS, 0);
    #[map]
    static SERVICES: Array<FloorService> = Array::with_max_entries(FLOOR_ENTRIES, 0);
    #[map]
    static RING: Array<u32> = Array::with_max_entries(FLOOR_RING, 0);
    /// Rings of all services, one after the other; sized by the loader. Nobody writes them: what counts is that they
    /// are read.
    #[map]
    static OWN_RINGS: Array<[u32; FLOOR_BLOCK as usize]> = Array::with_max_entries(1, 0);
    #[map]
    static REALS: Array<u64> = Array::with_max_entries(FLOOR_REALS, 0);
    #[map]
    static SERVICE_COUNTERS: PerCpuArray<[u64; 2]> =
        PerCpuArray::with_max_entries(FLOOR_ENTRIES, 0);
    #[map]
    static REAL_COUNTERS: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(FLOOR_REALS, 0);
    #[map]
    static FLOWS: LruHashMap<[u64; 2], u32> = LruHashMap::with_max_entries(FLOOR_FLOWS, 0);
    #[map]
    static FLOWS_V6: LruHashMap<[u64; 5], u32> = LruHashMap::with_max_entries(FLOOR_FLOWS, 0);

    const SEED: u64 = 0x0123_4567_89ab_cdef;
    const OWN: u64 = mac_bits([2, 0, 0, 0, 0, 2]);

    #[inline(always)]
    fn packet(ctx: &XdpContext) -> Packet<'_> {
        // SAFETY: the context's own bounds; the frame is the program's alone while it runs.
        unsafe { Packet::new(ctx.data() as *mut u8, ctx.data_end() as *mut u8) }
    }

    /// Makes the next packet, gives it to the target, and counts what that returns.
    #[xdp(frags)]
    pub fn wrapper(ctx: XdpContext) -> u32 {
        let Some(course) = COURSE.get_ptr_mut(0) else {
            return xdp_action::XDP_ABORTED;
        };
        // SAFETY: a value of the array, which nobody else touches while the program runs.
        let course = unsafe { &mut *course };
        if u64::from(course.left) == course.timed {
            // SAFETY: a helper without preconditions.
            course.first = unsafe { bpf_ktime_get_ns() };
        }
        if next(&mut packet(&ctx), course).is_err() {
            return xdp_action::XDP_ABORTED;
        }
        let code = target(&ctx) as usize;
        course.codes[if code < Course::OTHER { code } else { Course::OTHER }] += 1;
        course.left -= 1;
        if course.left == 0 {
            // SAFETY: a helper without preconditions.
            course.last = unsafe { bpf_ktime_get_ns() };
        }
        code as u32
    }

    /// A function of its own: the target returns to where this was called.
    #[inline(never)]
    fn target(ctx: &XdpContext) -> u32 {
        // SAFETY: nothing is to be dropped here.
        unsafe { TARGETS.tail_call(ctx, 0) };
        // SAFETY: a reference is valid to read. Volatile, as the compiler would believe that this is what
        // the function always returns.
        unsafe { core::ptr::read_volatile(&raw const NO_TARGET) }
    }

    /// Bytes of a frame that are written in one store, at an offset.
    #[repr(C)]
    struct Field<const N: usize>([u8; N]);
    // SAFETY: a byte array.
    unsafe impl<const N: usize> lb_ebpf::packet::Header for Field<N> {}

    /// In the widths in which targets load: a load that is served by two stores has to wait for both.
    #[inline(always)]
    fn next(packet: &mut Packet, course: &mut Course) -> Result<(), Outcome> {
        // SAFETY: a reference is valid to read. Volatile, as the loader sets it.
        let layout = unsafe { core::ptr::read_volatile(&raw const LAYOUT) };
        let (flow, service) = (course.flow, course.service);
        let after = |number: u32, of: u32| if number + 1 >= of { 0 } else { number + 1 };
        course.flow = after(flow, course.flows);
        course.service = after(service, course.services);
        let ethernet: &mut Ethernet = packet.header_mut(0)?;
        set_mac(&mut ethernet.destination, course.macs[0]);
        set_mac(&mut ethernet.source, course.macs[1]);
        address(packet, layout.client, layout.is_v6, course.first_client.wrapping_add(flow))?;
        address(packet, layout.vip, layout.is_v6, course.first_vip.wrapping_add(service))?;
        if layout.ports != 0 {
            let client = u32::from(Course::client_port(flow).to_be());
            let vip = u32::from((course.port as u16).to_be());
            let both = if layout.is_quoted != 0 { vip | client << 16 } else { client | vip << 16 };
            store(packet, layout.ports as usize, both)?;
        }
        if layout.identification != 0 && layout.is_v6 != 0 {
            store(packet, layout.identification as usize, flow.to_be())?;
        } else if layout.identification != 0 {
            store(packet, layout.identification as usize, (flow as u16).to_be())?;
        }
        Ok(())
    }

    #[inline(always)]
    fn address(packet: &mut Packet, end: u32, is_v6: u32, number: u32) -> Result<(), Outcome> {
        if end == 0 {
            Ok(())
        } else if is_v6 != 0 {
            store(packet, end as usize - 8, u64::from(number).to_be())
        } else {
            store(packet, end as usize - 4, number.to_be())
        }
    }

    #[inline(always)]
    fn store<T: Copy>(packet: &mut Packet, at: usize, value: T) -> Result<(), Outcome> {
        match size_of::<T>() {
            2 => field::<T, 2>(packet.header_mut(at)?, value),
            4 => field::<T, 4>(packet.header_mut(at)?, value),
            _ => field::<T, 8>(packet.header_mut(at)?, value),
        }
        Ok(())
    }

    #[inline(always)]
    fn field<T: Copy, const N: usize>(field: &mut Field<N>, value: T) {
        // SAFETY: as large as `T`, an integer; the kernel takes such stores at any address of a packet.
        unsafe { field.0.as_mut_ptr().cast::<T>().write(value) };
    }

    /// Nothing at all: with it, a wrapper costs what it costs.
    #[xdp(frags)]
    pub fn nothing(_: XdpContext) -> u32 {
        xdp_action::XDP_TX
    }

    /// The least that forwards: it looks whether there is an Ethernet header, and writes both addresses.
    #[xdp(frags)]
    pub fn f0(ctx: XdpContext) -> u32 {
        forward(&ctx)
    }

    #[inline(always)]
    fn forward(ctx: &XdpContext) -> u32 {
        let mut packet = packet(ctx);
        match packet.header_mut::<Ethernet>(0) {
            Ok(ethernet) => {
                set_mac(&mut ethernet.destination, mac_bits([2, 0, 0, 0, 0, 11]));
                set_mac(&mut ethernet.source, OWN);
                xdp_action::XDP_TX
            }
            Err(_) => xdp_action::XDP_DROP,
        }
    }

    /// The least that balances: a service, a hash of the flow, a ring, a real, and counters of service and real.
    #[xdp(frags)]
    pub fn f1(ctx: XdpContext) -> u32 {
        balance(&mut packet(&ctx), read4, Flow::chosen)
    }

    /// The same for IPv6.
    #[xdp(frags)]
    pub fn f1_v6(ctx: XdpContext) -> u32 {
        balance(&mut packet(&ctx), read6, Flow::chosen)
    }

    /// The same where each service has a ring of its own, as it must have in a balancer.
    #[xdp(frags)]
    pub fn f1_rings(ctx: XdpContext) -> u32 {
        balance(&mut packet(&ctx), read4, Flow::chosen_by_own_ring)
    }

    /// F1 with a table of flows that is asked first, as most balancers have one.
    #[xdp(frags)]
    pub fn f2(ctx: XdpContext) -> u32 {
        balance(&mut packet(&ctx), read4, |flow| {
            remembered(&FLOWS, &[flow.source[0], flow.rest()], flow)
        })
    }

    /// The same for IPv6.
    #[xdp(frags)]
    pub fn f2_v6(ctx: XdpContext) -> u32 {
        balance(&mut packet(&ctx), read6, |flow| {
            let ([a, b], [c, d]) = (flow.source, flow.destination);
            remembered(&FLOWS_V6, &[a, b, c, d, flow.rest()], flow)
        })
    }

    /// The flow of a packet to a service. Of IPv4 both addresses are in the first word of the source.
    struct Flow {
        service: &'static FloorService,
        source: [u64; 2],
        destination: [u64; 2],
        ports: u32,
        protocol: u8,
    }

    impl Flow {
        /// The place of the real that the ring has for it.
        #[inline(always)]
        fn chosen(&self) -> u32 {
            let slot = (self.hash() * u64::from(self.service.ring_len)) >> 32;
            get(&RING, slot as u32).map_or(0, |real| self.service.ring + *real)
        }

        /// The same by the service's own ring, in which no number is, so that one is made of the slot's.
        #[inline(always)]
        fn chosen_by_own_ring(&self) -> u32 {
            let slot = ((self.hash() * u64::from(FLOOR_OWN_RING)) >> 32) as u32;
            let index = self.service.number * FLOOR_OWN_RING + slot;
            let Some(block) = get(&OWN_RINGS, index / FLOOR_BLOCK) else {
                return 0;
            };
            let number = block[(index % FLOOR_BLOCK) as usize];
            self.service.ring + number + (slot * FLOOR_POOL / FLOOR_OWN_RING)
        }

        /// The hash of the flow, 32 bits.
        #[inline(always)]
        fn hash(&self) -> u64 {
            let Self { source, destination, ports, protocol, .. } = self;
            let mixed = (source[0] ^ SEED).wrapping_mul(0xbf58_476d_1ce4_e5b9)
                ^ source[1]
                ^ destination[0].rotate_left(32)
                ^ destination[1].rotate_left(16);
            let mixed = mixed.wrapping_mul(0x94d0_49bb_1331_11eb) ^ u64::from(*ports) << 8;
            let mixed =
                (mixed ^ mixed >> 32 ^ u64::from(*protocol)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed >> 32
        }

        /// What else is of the flow, beside the addresses.
        #[inline(always)]
        fn rest(&self) -> u64 {
            u64::from(self.ports) << 8 | u64::from(self.protocol)
        }
    }

    #[inline(always)]
    fn remembered<K>(flows: &LruHashMap<K, u32>, key: &K, flow: &Flow) -> u32 {
        if let Some(place) = flows.get_ptr(key) {
            // SAFETY: a value of the map, which stays readable while the program runs.
            return unsafe { *place };
        }
        let place = flow.chosen();
        // Whether there is room does not matter to this packet.
        let _ = flows.insert(key, place, 0);
        place
    }

    #[inline(always)]
    fn get<T>(array: &'static Array<T>, index: u32) -> Option<&'static T> {
        // SAFETY: a value of the array, which nobody writes while the program runs.
        array.get_ptr(index).map(|value| unsafe { &*value })
    }

    #[inline(always)]
    fn balance(
        packet: &mut Packet,
        read: impl FnOnce(&Packet) -> Result<Option<Flow>, Outcome>,
        choose: impl FnOnce(&Flow) -> u32,
    ) -> u32 {
        let Ok(found) = read(packet) else {
            return xdp_action::XDP_DROP;
        };
        let Some(flow) = found else {
            return xdp_action::XDP_PASS;
        };
        let place = choose(&flow);
        let (Some(real), length) = (get(&REALS, place), packet.len()) else {
            return xdp_action::XDP_DROP;
        };
        count(&SERVICE_COUNTERS, flow.service.number, length);
        count(&REAL_COUNTERS, place, length);
        let Ok(ethernet) = packet.header_mut::<Ethernet>(0) else {
            return xdp_action::XDP_DROP;
        };
        set_mac(&mut ethernet.destination, *real);
        set_mac(&mut ethernet.source, OWN);
        xdp_action::XDP_TX
    }

    #[inline(always)]
    fn count(counters: &'static PerCpuArray<[u64; 2]>, index: u32, length: u64) {
        if let Some(counters) = counters.get_ptr_mut(index) {
            // SAFETY: this CPU's value; nothing else on this CPU counts while the program runs.
            let [packets, bytes] = unsafe { &mut *counters };
            *packets += 1;
            *bytes += length;
        }
    }

    const IP: usize = size_of::<Ethernet>();

    #[inline(always)]
    fn read4(packet: &Packet) -> Result<Option<Flow>, Outcome> {
        let ethernet: &Ethernet = packet.header(0)?;
        if word16(&ethernet.ether_type) != EtherType::Ipv4 as u16 {
            return Ok(None);
        }
        let ip: &Ipv4Hdr = packet.header(IP)?;
        if ip.vihl != 0x45 || u16::from_be_bytes(ip.frags) & 0x3fff != 0 {
            return Ok(None);
        }
        let Some((ports, port)) = ports(packet, IP + Ipv4Hdr::LEN, ip.proto)? else {
            return Ok(None);
        };
        let (source, destination) = (word32(&ip.src_addr), word32(&ip.dst_addr));
        let key = u64::from(destination) << 32 | u64::from(port) << 8 | u64::from(ip.proto);
        let source = [u64::from(source) << 32 | u64::from(destination), 0];
        Ok(find(key).map(|service| Flow {
            service,
            source,
            destination: [0; 2],
            ports,
            protocol: ip.proto,
        }))
    }

    #[inline(always)]
    fn read6(packet: &Packet) -> Result<Option<Flow>, Outcome> {
        let ethernet: &Ethernet = packet.header(0)?;
        if word16(&ethernet.ether_type) != EtherType::Ipv6 as u16 {
            return Ok(None);
        }
        let ip: &Ipv6Hdr = packet.header(IP)?;
        let Some((ports, port)) = ports(packet, IP + Ipv6Hdr::LEN, ip.next_hdr)? else {
            return Ok(None);
        };
        let (source, destination) = (words64(&ip.src_addr), words64(&ip.dst_addr));
        let key = destination[0].rotate_left(32)
            ^ destination[1]
            ^ (u64::from(port) << 8 | u64::from(ip.next_hdr));
        Ok(find(key).map(|service| Flow {
            service,
            source,
            destination,
            ports,
            protocol: ip.next_hdr,
        }))
    }

    /// Both ports, and the second one, in wire order.
    #[inline(always)]
    fn ports(packet: &Packet, at: usize, protocol: u8) -> Result<Option<(u32, u16)>, Outcome> {
        if protocol != IpProto::Tcp as u8 && protocol != IpProto::Udp as u8 {
            return Ok(None);
        }
        let pair: &PortPair = packet.header(at)?;
        let both = word32(&pair.both);
        Ok(Some((both, (both >> 16) as u16)))
    }

    #[inline(always)]
    fn find(key: u64) -> Option<&'static FloorService> {
        let hash = floor_hash(key, SEED);
        let displacement = get(&DISPLACEMENTS, floor_bucket(hash))?;
        get(&SERVICES, floor_entry(hash, *displacement)).filter(|service| service.key == key)
    }

    /// Of the programs for live frames: what is sent, where F0 sends it on to, how many have arrived.
    #[map]
    static STREAM: Array<Stream> = Array::with_max_entries(1, 0);
    #[map]
    static WAY_OUT: DevMap = DevMap::with_max_entries(1, 0);
    #[map]
    static ARRIVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

    /// Makes of a live frame the stream's next, and sends it.
    #[xdp]
    pub fn generate(ctx: XdpContext) -> u32 {
        let Some(stream) = STREAM.get_ptr_mut(0) else {
            return xdp_action::XDP_ABORTED;
        };
        // SAFETY: a value of the array, which nobody else touches while the program runs.
        let stream = unsafe { &mut *stream };
        if stream.first == 0 {
            // SAFETY: a helper without preconditions.
            stream.first = unsafe { bpf_ktime_get_ns() };
        }
        if following(&mut packet(&ctx), stream).is_err() {
            return xdp_action::XDP_ABORTED;
        }
        stream.left = stream.left.wrapping_sub(1);
        if stream.left == 0 {
            // SAFETY: a helper without preconditions.
            stream.last = unsafe { bpf_ktime_get_ns() };
        }
        xdp_action::XDP_TX
    }

    #[inline(always)]
    fn following(packet: &mut Packet, stream: &mut Stream) -> Result<(), Outcome> {
        let flow = stream.flow;
        stream.flow = if flow + 1 >= stream.flows { 0 } else { flow + 1 };
        let source = stream.first_source.wrapping_add(flow).to_be();
        let mut at = 0;
        while at < Stream::LENGTH / 8 {
            store(packet, at * 8, stream.frame[at])?;
            at += 1;
        }
        if stream.is_v6 != 0 {
            return store(packet, IP + 20, source);
        }
        let sum = stream.header_sum + (source & 0xffff) + (source >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        store(packet, IP + 10, !(sum + (sum >> 16)) as u16)?;
        store(packet, IP + 12, source)
    }

    /// Like F0, out of another interface.
    #[xdp(frags)]
    pub fn f0_redirect(ctx: XdpContext) -> u32 {
        match forward(&ctx) {
            xdp_action::XDP_TX => WAY_OUT.redirect(0, 0).unwrap_or(xdp_action::XDP_ABORTED),
            other => other,
        }
    }

    /// Loses UDP and counts it; everything else passes, so that the kernel answers for its neighbours.
    #[xdp]
    pub fn count_drop(ctx: XdpContext) -> u32 {
        if !is_udp(&packet(&ctx)).unwrap_or(false) {
            return xdp_action::XDP_PASS;
        }
        if let Some(arrived) = ARRIVED.get_ptr_mut(0) {
            // SAFETY: this CPU's value; nothing else on this CPU counts while the program runs.
            unsafe { *arrived += 1 };
        }
        xdp_action::XDP_DROP
    }

    #[inline(always)]
    fn is_udp(packet: &Packet) -> Result<bool, Outcome> {
        let ethernet: &Ethernet = packet.header(0)?;
        let ether_type = word16(&ethernet.ether_type);
        let protocol = if ether_type == EtherType::Ipv4 as u16 {
            packet.header::<Ipv4Hdr>(IP)?.proto
        } else if ether_type == EtherType::Ipv6 as u16 {
            packet.header::<Ipv6Hdr>(IP)?.next_hdr
        } else {
            return Ok(false);
        };
        Ok(protocol == IpProto::Udp as u8)
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
