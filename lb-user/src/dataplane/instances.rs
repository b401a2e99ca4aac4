//! The loaded programs: an instance of the object for each interface, which knows its port as a
//! constant, all on the same maps.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{PortWord, TableWord, TraceRecord, capture::Wanted};

use super::{
    attach::{self, Mode},
    capture::{Attached, CaptureSource, Capturers},
    error::Error,
    growth::Growth,
    kernel::{mapped, missing},
    load::{Loader, OBJECT},
    mapped::Mapped,
    pins,
    resize::Resize,
};
use crate::model::XdpChoice;

/// The port of the instance that there always is.
pub(super) const FIRST: u8 = 1;

/// The program that is attached, the one that traces, and the one that is attached while somebody captures.
struct Programs {
    balancer: &'static str,
    tracer: &'static str,
    capturer: &'static str,
}

/// Jumbo frames and all.
const MODERN: Programs = Programs { balancer: "lb", tracer: "trace", capturer: "capture" };
/// For kernels before 5.18, which know no frames in several buffers.
const LINEAR: Programs =
    Programs { balancer: "lb_linear", tracer: "trace_linear", capturer: "capture_linear" };

/// All instances, by port.
pub(super) struct Instances {
    loader: Loader,
    programs: Programs,
    loaded: BTreeMap<u8, Instance>,
    capturers: Capturers,
}

struct Instance {
    object: Ebpf,
    record: Mapped,
    entrance: Mapped,
}

impl Instance {
    fn new(mut object: Ebpf) -> Result<Self, Error> {
        let record = mapped(&mut object, "TRACE")?;
        let entrance = mapped(&mut object, "ENTRANCE")?;
        Ok(Self { record, entrance, object })
    }
}

impl Instances {
    /// Loads the first, and finds out by it which programs the kernel takes.
    pub(super) fn new(loader: &Loader) -> Result<Self, Error> {
        let mut object = loader.load(OBJECT, FIRST)?;
        let programs = match load(&mut object, &MODERN) {
            Ok(()) => MODERN,
            Err(modern) => {
                // Both reasons: a kernel that knows jumbo frames has refused for the first.
                load(&mut object, &LINEAR).map_err(|linear| Error::Kernel {
                    what: modern.to_string(),
                    detail: format!("and without jumbo frames: {linear}"),
                })?;
                log::info!("{modern}: without jumbo frames then");
                LINEAR
            }
        };
        let loaded = BTreeMap::from([(FIRST, Instance::new(object)?)]);
        Ok(Self { loader: loader.clone(), programs, loaded, capturers: Capturers::default() })
    }

    /// The tables of flows whose size has changed since a former daemon, if any.
    pub(super) fn resize(&self, pin_dir: &Path) -> Result<Option<Resize>, Error> {
        Resize::find(&pins::map_dir(pin_dir), self.loader.sizes())
    }

    /// The arrays that are larger than a former daemon's, with what was in those, if any.
    pub(super) fn growth(&self) -> Result<Option<Growth>, Error> {
        let begin = |pin_dir: &PathBuf| Growth::begin(&pins::map_dir(pin_dir), self.loader.sizes());
        self.loader.pin_dir.as_ref().map_or(Ok(None), begin)
    }

    /// Loads one for this port, unless there is one.
    pub(super) fn load(&mut self, port: u8) -> Result<(), Error> {
        if !self.loaded.contains_key(&port) {
            let mut object = self.loader.load(OBJECT, port)?;
            load(&mut object, &self.programs)?;
            self.loaded.insert(port, Instance::new(object)?);
        }
        Ok(())
    }

    /// Tells the instance of a port, if there is one, the port's word.
    pub(super) fn set_own(&self, port: u8, word: PortWord) {
        if let Some(instance) = self.loaded.get(&port) {
            instance.entrance.store(0, word.0);
        }
        self.capturers.set_own(port, word);
    }

    /// Tells all instances which service table is in force.
    pub(super) fn set_table(&self, word: TableWord) {
        for instance in self.loaded.values() {
            instance.entrance.store(1, word.0);
        }
        self.capturers.set_table(word);
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = u8> {
        self.loaded.keys().copied()
    }

    pub(super) fn objects(&mut self) -> impl Iterator<Item = &mut Ebpf> {
        self.loaded.values_mut().map(|instance| &mut instance.object)
    }

    /// The first one's object.
    pub(super) fn first(&mut self) -> Result<&mut Ebpf, Error> {
        Ok(&mut self.get(FIRST)?.object)
    }

    fn get(&mut self, port: u8) -> Result<&mut Instance, Error> {
        let none = || Error::Kernel {
            what: format!("port {port}"),
            detail: "no program is loaded for it".to_owned(),
        };
        self.loaded.get_mut(&port).ok_or_else(none)
    }

    /// Attaches the instances to their interfaces, all in one mode. Whatever a pinned link holds in
    /// generic mode decides for all where the choice is left to us: no restart changes the mode.
    pub(super) async fn attach_all(
        &mut self,
        interfaces: &[(u8, &str)],
        choice: XdpChoice,
        pin_dir: &Path,
    ) -> Result<Mode, Error> {
        let mut mode = if choice == XdpChoice::Generic { Mode::Generic } else { Mode::Native };
        for (_, interface) in interfaces.iter().filter(|_| choice == XdpChoice::Auto) {
            if attach::current(interface, pin_dir).await? == Some(Mode::Generic) {
                mode = Mode::Generic;
            }
        }
        match self.attach_each(interfaces, mode, pin_dir).await {
            Err(Error::NoNative { interface, source }) if choice == XdpChoice::Auto => {
                let all = if interfaces.len() > 1 { "all interfaces " } else { "" };
                log::warn!("{interface}: no native XDP ({source}): {all}generic, which is slower");
                self.attach_each(interfaces, Mode::Generic, pin_dir).await?;
                Ok(Mode::Generic)
            }
            result => result.map(|()| mode),
        }
    }

    /// Attaches all, or none that was not attached before.
    async fn attach_each(
        &mut self,
        interfaces: &[(u8, &str)],
        mode: Mode,
        pin_dir: &Path,
    ) -> Result<(), Error> {
        let mut anew = Vec::new();
        for (port, interface) in interfaces {
            match self.attach(*port, interface, mode, pin_dir).await {
                Ok(true) => anew.push(interface),
                Ok(false) => {}
                Err(error) => {
                    for interface in anew {
                        attach::detach(interface, pin_dir)?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Attaches one; returns whether nothing of ours was attached there before.
    pub(super) async fn attach(
        &mut self,
        port: u8,
        interface: &str,
        mode: Mode,
        pin_dir: &Path,
    ) -> Result<bool, Error> {
        let balancer = self.programs.balancer;
        let program = program(&mut self.get(port)?.object, balancer)?;
        attach::attach(program, interface, mode, pin_dir).await
    }

    /// How often the balancer of a port has run, or what captures in its place, and how long in all, as far as the
    /// kernel measures it. Each is loaded once, so it never shrinks.
    pub(super) fn runs(&self, port: u8) -> Option<(u64, Duration)> {
        let (count, time) = runs(&self.loaded.get(&port)?.object, self.programs.balancer)?;
        let capturer = self.capturers.object(port);
        let capturer = capturer.and_then(|object| runs(object, self.programs.capturer));
        let (more, longer) = capturer.unwrap_or_default();
        Some((count + more, time + longer))
    }

    /// Loads a program that captures for each port that has a balancer.
    pub(super) fn prepare_capture(&mut self) -> Result<(), Error> {
        let Self { loader, programs, loaded, capturers } = self;
        loaded.keys().try_for_each(|port| capturers.load(loader, *port, programs.capturer))
    }

    /// Says which frames are wanted; nothing is attached yet.
    pub(super) fn begin_capture(
        &mut self,
        interfaces: &[Attached<'_>],
        wanted: Wanted,
    ) -> Result<Vec<CaptureSource>, Error> {
        interfaces.iter().map(|(port, ..)| self.capturers.begin(*port, wanted)).collect()
    }

    /// Says to which places frames are to be captured.
    pub(super) fn set_capture_places(&self, places: &[u32]) {
        self.capturers.set_places(places);
    }

    /// Puts the programs that capture in the place of the balancers.
    pub(super) async fn attach_capture(
        &mut self,
        interfaces: &[Attached<'_>],
        pin_dir: &Path,
    ) -> Result<(), Error> {
        for interface in interfaces {
            self.capturers.attach(*interface, self.programs.capturer, pin_dir).await?;
        }
        Ok(())
    }

    /// Puts the balancers back.
    pub(super) async fn end_capture(
        &mut self,
        interfaces: &[Attached<'_>],
        pin_dir: &Path,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        for (port, interface, mode) in interfaces {
            // One that is gone needs none; the others do.
            result = result.and(self.attach(*port, interface, *mode, pin_dir).await.map(drop));
        }
        result
    }

    /// Runs the tracer of this port's instance, and reads what it found.
    pub(super) fn trace(&mut self, port: u8, frame: &[u8]) -> Result<TraceRecord, Error> {
        let tracer = self.programs.tracer;
        let instance = self.get(port)?;
        run(&mut instance.object, tracer, frame)?;
        let [a, b] = [instance.record.load(0), instance.record.load(1)];
        Ok(TraceRecord {
            outcome: a as u32,
            slot: (a >> 32) as u32,
            place: b as u32,
            rule: (b >> 32) as u32,
        })
    }

    /// Runs the first instance's balancer: the XDP action, and the frame as it is then.
    pub(super) fn process(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), Error> {
        let balancer = self.programs.balancer;
        run(self.first()?, balancer, frame)
    }
}

fn runs(object: &Ebpf, name: &str) -> Option<(u64, Duration)> {
    let info = object.program(name)?.info().ok()?;
    Some((info.run_count(), info.run_time()))
}

fn run(object: &mut Ebpf, name: &'static str, frame: &[u8]) -> Result<(u32, Vec<u8>), Error> {
    let mut output = vec![0; frame.len() + 256];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut output);
    let result = program(object, name)?
        .test_run(options)
        .map_err(|error| Error::kernel(format!("running program \"{name}\""), &error))?;
    output.truncate(result.data_size_out as usize);
    Ok((result.return_value, output))
}

fn load(object: &mut Ebpf, programs: &Programs) -> Result<(), Error> {
    [programs.balancer, programs.tracer].into_iter().try_for_each(|name| {
        program(object, name)?
            .load()
            .map_err(|error| Error::kernel(format!("loading program \"{name}\""), &error))
    })
}

pub(super) fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    object
        .program_mut(name)
        .ok_or_else(|| missing(name))?
        .try_into()
        .map_err(|error| Error::kernel(format!("program \"{name}\""), &error))
}
