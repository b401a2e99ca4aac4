//! The programs at the interfaces: attached, detached, and those that capture in their place.

use std::path::Path;

use lb_common::{PortWord, TableWord, capture::Wanted};

use super::{Kernel, wait_for_readers};
use crate::{
    dataplane::{
        attach::{self, Mode},
        capture::{Attached, CaptureSource},
        error::Error,
        growth::Growth,
        resize::{Held, Resize},
    },
    model::XdpChoice,
};

impl Kernel {
    /// Fails, before anything is changed, if the program could not be attached.
    ///
    /// # Errors
    ///
    /// Where the interface is missing or has another program.
    pub async fn check(interface: &str, pin_dir: &Path) -> Result<(), Error> {
        attach::check(interface, pin_dir).await
    }

    /// Attaches the programs of these ports to their interfaces, or puts them in the place of those
    /// that pinned links hold, all in one mode: a native program cannot send through an interface
    /// that is not native. Removes what former configurations have pinned.
    ///
    /// # Errors
    ///
    /// Where an interface is missing, busy or unable; then none is attached that was not before.
    pub async fn attach_all(
        &mut self,
        interfaces: &[(u8, &str)],
        choice: XdpChoice,
        pin_dir: &Path,
    ) -> Result<Mode, Error> {
        let resize = self.instances.resize(pin_dir)?;
        let growth = self.growth.take();
        let mode = if resize.is_none() && growth.is_none() {
            self.instances.attach_all(interfaces, choice, pin_dir).await?
        } else {
            self.attach_copied(resize, growth, interfaces, choice, pin_dir).await?
        };
        attach::tidy(pin_dir, interfaces.iter().map(|(_, interface)| *interface))?;
        Ok(mode)
    }

    /// The same where tables have another size: nothing is unknown to the new programs.
    pub(super) async fn attach_copied(
        &mut self,
        mut resize: Option<Resize>,
        mut growth: Option<Growth>,
        interfaces: &[(u8, &str)],
        choice: XdpChoice,
        pin_dir: &Path,
    ) -> Result<Mode, Error> {
        // Most of it, while nothing is held.
        resize.as_mut().map(Resize::copy).transpose()?;
        growth.as_mut().map(Growth::catch_up).transpose()?;
        let held = resize.is_some().then(|| Held::new(&mut self.full));
        wait_for_readers();
        resize.as_mut().map(Resize::copy).transpose()?;
        let mode = self.instances.attach_all(interfaces, choice, pin_dir).await?;
        wait_for_readers();
        resize.as_mut().map(Resize::copy).transpose()?;
        drop(held);
        resize.map(Resize::finish).transpose()?;
        growth.map(Growth::finish).transpose()?;
        Ok(mode)
    }

    /// Attaches the program of a port to its interface.
    ///
    /// # Errors
    ///
    /// Where the interface is missing, busy or unable.
    pub async fn attach(
        &mut self,
        port: u8,
        interface: &str,
        mode: Mode,
        pin_dir: &Path,
    ) -> Result<(), Error> {
        self.instances.attach(port, interface, mode, pin_dir).await.map(drop)
    }

    /// Detaches the program from an interface, and removes the pin. An interface that is gone has
    /// left one that holds nothing.
    ///
    /// # Errors
    ///
    /// When the pin cannot be removed.
    pub fn detach(&self, interface: &str, pin_dir: &Path) -> Result<(), Error> {
        attach::detach(interface, pin_dir)
    }

    /// Loads the programs that capture, for all ports: later there may be no permission to.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses them, as those before 5.8 do.
    pub fn prepare_capture(&mut self) -> Result<(), Error> {
        self.instances.prepare_capture()
    }

    /// Puts programs in the balancers' place that hand on what they see of the frames that are wanted; if those
    /// to some places are, only of those. Nothing else changes.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses; the balancers are in their place then.
    pub async fn begin_capture(
        &mut self,
        interfaces: &[Attached<'_>],
        (wanted, places): (Wanted, &[u32]),
        pin_dir: &Path,
    ) -> Result<Vec<CaptureSource>, Error> {
        let sources = self.instances.begin_capture(interfaces, wanted)?;
        for (port, ..) in interfaces {
            self.instances.set_own(*port, PortWord(self.ports.load(usize::from(*port))));
        }
        self.instances.set_table(TableWord(self.table.load(0)));
        self.instances.set_capture_places(places);
        if let Err(error) = self.instances.attach_capture(interfaces, pin_dir).await {
            self.instances.end_capture(interfaces, pin_dir).await?;
            return Err(error);
        }
        Ok(sources)
    }

    /// Says to which places frames are to be captured from now on.
    pub fn set_capture_places(&self, places: &[u32]) {
        self.instances.set_capture_places(places);
    }

    /// Puts the balancers back, without a frame lost.
    ///
    /// # Errors
    ///
    /// Where an interface is gone, or the kernel refuses.
    pub async fn end_capture(
        &mut self,
        interfaces: &[Attached<'_>],
        pin_dir: &Path,
    ) -> Result<(), Error> {
        self.instances.end_capture(interfaces, pin_dir).await
    }
}
