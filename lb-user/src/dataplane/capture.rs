//! Programs that hand on what they see of frames, in the balancer's place for as long as somebody captures.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    path::Path,
};

use aya::{
    Ebpf,
    maps::{Map, MapData, PerCpuArray, RingBuf},
};
use lb_common::{
    PortWord, TableWord,
    capture::{Captured, Wanted},
};

use super::{
    attach::{self, Mode},
    error::Error,
    instances::program,
    kernel::{mapped, missing},
    load::{CAPTURE, Loader},
    mapped::Mapped,
};

/// An interface with the balancer: its port, its name, and how the program is attached there.
pub type Attached<'a> = (u8, &'a str, Mode);

/// The programs of a capture, by port.
#[derive(Default)]
pub(super) struct Capturers(BTreeMap<u8, Capturer>);

struct Capturer {
    object: Ebpf,
    entrance: Mapped,
    wanted: Mapped,
    places: Mapped,
}

impl Capturers {
    /// Loads one for this port; it has nothing to do before it is attached.
    pub(super) fn load(&mut self, loader: &Loader, port: u8, name: &str) -> Result<(), Error> {
        let mut object = loader.load(CAPTURE, port)?;
        let failed = |error| Error::kernel(format!("loading program \"{name}\""), &error);
        program(&mut object, name)?.load().map_err(failed)?;
        let entrance = mapped(&mut object, "ENTRANCE")?;
        let wanted = mapped(&mut object, "WANTED")?;
        let places = mapped(&mut object, "PLACES")?;
        self.0.insert(port, Capturer { object, entrance, wanted, places });
        Ok(())
    }

    /// The one of this port.
    pub(super) fn object(&self, port: u8) -> Option<&Ebpf> {
        self.0.get(&port).map(|capturer| &capturer.object)
    }

    /// Says which frames are wanted from now on; gives where those come out that come in on this port.
    pub(super) fn begin(&mut self, port: u8, wanted: Wanted) -> Result<CaptureSource, Error> {
        let capturer = self.0.get_mut(&port).ok_or_else(|| missing("capture"))?;
        capturer.wanted.store(0, wanted.outcomes);
        capturer.wanted.store(1, u64::from(wanted.places) | u64::from(wanted.sample) << 32);
        CaptureSource::of(&capturer.object, port)
    }

    /// Puts the program of a port in the place of the balancer.
    pub(super) async fn attach(
        &mut self,
        (port, interface, mode): Attached<'_>,
        name: &str,
        pin_dir: &Path,
    ) -> Result<(), Error> {
        let Some(capturer) = self.0.get_mut(&port) else {
            return Ok(());
        };
        let program = program(&mut capturer.object, name)?;
        attach::attach(program, interface, mode, pin_dir).await.map(drop)
    }

    /// Says to which places frames are wanted.
    pub(super) fn set_places(&self, places: &[u32]) {
        for Capturer { places: map, .. } in self.0.values() {
            let mut words = vec![0; map.words()];
            for place in places {
                if let Some(word) = words.get_mut(*place as usize / 64) {
                    *word |= 1_u64 << (place % 64);
                }
            }
            words.into_iter().enumerate().for_each(|(index, word)| map.store(index, word));
        }
    }

    pub(super) fn set_own(&self, port: u8, word: PortWord) {
        if let Some(capturer) = self.0.get(&port) {
            capturer.entrance.store(0, word.0);
        }
    }

    pub(super) fn set_table(&self, word: TableWord) {
        self.0.values().for_each(|capturer| capturer.entrance.store(1, word.0));
    }
}

/// Where the captured frames of a port come out.
pub struct CaptureSource {
    /// The port that they came in on.
    pub port: u8,
    frames: RingBuf<MapData>,
    missed: PerCpuArray<MapData, u64>,
    /// How many were missed when that was asked last.
    told: u64,
}

impl CaptureSource {
    fn of(object: &Ebpf, port: u8) -> Result<Self, Error> {
        let Some(Map::RingBuf(frames)) = object.map("CAPTURED") else {
            return Err(missing("CAPTURED"));
        };
        let Some(Map::PerCpuArray(missed)) = object.map("MISSED") else {
            return Err(missing("MISSED"));
        };
        let failed = |error| Error::kernel("map CAPTURED", &error);
        let frames = RingBuf::try_from(Map::RingBuf(same(frames)?)).map_err(failed)?;
        let missed = PerCpuArray::try_from(Map::PerCpuArray(same(missed)?)).map_err(failed)?;
        let mut source = Self { port, frames, missed, told: 0 };
        // What a former capture has not taken.
        while source.next_frame().is_some() {}
        source.missed();
        Ok(source)
    }

    /// The next frame, if there is one.
    pub fn next_frame(&mut self) -> Option<Captured> {
        loop {
            let item = self.frames.next()?;
            let bytes: &[u8] = &item;
            if bytes.len() >= size_of::<Captured>() {
                // SAFETY: as many bytes are there, and every bit pattern is a valid value.
                return Some(unsafe { bytes.as_ptr().cast::<Captured>().read_unaligned() });
            }
        }
    }

    /// How many frames were wanted and not handed on since this was asked last: there were too many.
    pub fn missed(&mut self) -> u64 {
        let values = self.missed.get(&0, 0);
        let all = values.map_or(self.told, |values| values.iter().sum());
        let missed = all.saturating_sub(self.told);
        self.told = all;
        missed
    }
}

impl AsRawFd for CaptureSource {
    fn as_raw_fd(&self) -> RawFd {
        self.frames.as_raw_fd()
    }
}

impl AsFd for CaptureSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.frames.as_fd()
    }
}

/// The same map by a descriptor of its own.
fn same(map: &MapData) -> Result<MapData, Error> {
    let fd = map.fd().as_fd().try_clone_to_owned();
    let fd = fd.map_err(|error| Error::kernel("a map's descriptor", &error))?;
    MapData::from_fd(fd).map_err(|error| Error::kernel("a map", &error))
}
