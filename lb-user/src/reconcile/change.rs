//! Changes to the configuration: checked and planned in full before the file is written, and
//! loaded only once it is.

use std::{fs, mem, net::IpAddr};

use jiff::Timestamp;

use super::{
    Probed, Reconciler,
    attaching::fleet,
    audit::differences,
    events::subject,
    interfaces::Place,
    reading::{Loaded, Reading},
};
use crate::{
    api::{
        request::{Candidate, Change, Refusal, Reply},
        types::{Done, Noted, PlanReport},
    },
    config::{
        edit::{self, EditError, Edited},
        store,
    },
    dataplane,
    ledger::Ledger,
    metrics::Came,
    model::Model,
    plan::Plan,
};

/// A change that can be carried out.
struct Prepared {
    edited: Edited,
    plan: Plan,
    ledger: Ledger,
    /// What it changes, where a whole configuration is put in force.
    report: Option<PlanReport>,
}

impl Reconciler {
    /// Carries out a change, at once or, where it brings addresses to announce, once nobody else
    /// was found to answer for them.
    pub(super) async fn change(&mut self, change: Change, reply: Reply<Done>) {
        if let Some(done) = self.hasten(&change) {
            self.tally.change(Came::Applied, Timestamp::now());
            return drop(reply.send(Ok(done)));
        }
        let prepared = self.prepare(&change);
        let fresh = prepared.as_ref().map(|prepared| self.fresh_places(&prepared.edited.model));
        match fresh {
            Ok(fresh) if !fresh.is_empty() => self.probe(fresh, Some((change, reply))),
            _ => {
                let result = match prepared {
                    Ok(prepared) => self.commit(&change, prepared).await,
                    Err(refusal) => Err(refusal),
                };
                self.tally.change(came(&result), Timestamp::now());
                self.announce().await;
                // An asker that has gone away needs no answer.
                drop(reply.send(result));
            }
        }
    }

    /// Carries out a change whose addresses were probed for. It is prepared anew, since another
    /// may have come first.
    pub(super) async fn change_probed(
        &mut self,
        change: Change,
        probed: Probed,
    ) -> Result<Done, Refusal> {
        let result = self.carry_out(&change, probed).await;
        self.tally.change(came(&result), Timestamp::now());
        result
    }

    async fn carry_out(&mut self, change: &Change, probed: Probed) -> Result<Done, Refusal> {
        if let Some(error) = probed.errors.into_iter().next() {
            return Err(Refusal::failed(error));
        }
        if let Some(conflict) = probed.conflicts.first() {
            let name = self.name_of(conflict);
            return Err(Refusal::conflict(format!(
                "{}: {name} answers for this address already; remove it there, or use another",
                conflict.address
            )));
        }
        let prepared = self.prepare(change)?;
        let done = self.commit(change, prepared).await?;
        let errors = self.assign(probed.asked).await;
        self.announce().await;
        match errors.first() {
            None => Ok(done),
            Some(error) => Err(Refusal::failed(format!("{}, but {error}", done.message))),
        }
    }

    /// The addresses that only this model would have announced, and where they are to be assigned.
    fn fresh_places(&self, model: &Model) -> Vec<(Place, Vec<IpAddr>)> {
        let before = self.announced(&self.config.model);
        self.missing(&self.announced(model).difference(&before).copied().collect())
    }

    /// Removes at once who was removed before and still has its flows: the file does not know it any more.
    fn hasten(&mut self, change: &Change) -> Option<Done> {
        let Change::RemoveReal(vip, address, now) = change else {
            return None;
        };
        let (real, left) = self.ledger.left(vip).find(|(real, _)| real.address == *address)?;
        if left.at_once || !now {
            let message = format!("real {address} of vip \"{vip}\" is being removed already");
            return Some(Done { audit: Noted::Nothing, ..Done::new(message) });
        }
        self.ledger.depart(vip, &real, None, Timestamp::now());
        self.reconcile();
        self.save_ledger();
        let message = describe(change);
        self.changed(subject(change), &message);
        Some(Done::new(message))
    }

    /// The file as it would be, and the plan that would be carried out. Changes nothing.
    fn prepare(&self, change: &Change) -> Result<Prepared, Refusal> {
        let path = &self.config.path;
        let on_disk = fs::read_to_string(path)
            .map_err(|error| Refusal::failed(format!("reading {}: {error}", path.display())))?;
        if on_disk != self.config.text {
            return Err(Refusal::conflict(format!(
                "{} was edited since lbd read it: reload it first (`kill -HUP`, `systemctl reload lbd`)",
                path.display()
            )));
        }
        let edited = edit(&on_disk, change).map_err(refused)?;
        let ledger = self.turned(&edited.model, Some(change));
        let plan = self
            .plan(&edited.model, &self.state, &ledger)
            .map_err(|error| Refusal::conflict(error.to_string()))?;
        let report = match change {
            Change::Apply(candidate) => {
                let report = self
                    .report_of(&edited.model, &plan)
                    .map_err(|error| Refusal::failed(error.to_string()))?;
                limit(&report, candidate.max_moved)?;
                Some(report)
            }
            _ => None,
        };
        Ok(Prepared { edited, plan, ledger, report })
    }

    /// Writes the file, which is the moment from which the change counts, then the tables.
    async fn commit(&mut self, change: &Change, prepared: Prepared) -> Result<Done, Refusal> {
        let Prepared { edited, plan, ledger, report } = prepared;
        store::replace(&self.config.path, &edited.text).map_err(|error| {
            let changed = if error.replaced {
                "the file is changed, reload it"
            } else {
                "nothing was changed"
            };
            Refusal::failed(format!("{changed}: {error}"))
        })?;
        self.config.text = edited.text;
        self.tally.replaced();
        let former = self.take(edited.model);
        if let Change::Apply(Candidate { rights: Some(rights), .. }) = change {
            self.gate.set(rights.clone());
        }
        self.ledger = ledger;
        self.save_ledger();
        let applied = self.apply(plan);
        let message = describe(change);
        if applied.is_ok() {
            // Before what follows from it.
            self.changed(subject(change), &message);
        }
        self.track().await;
        self.reconcile();
        // What follows for the reals, such as when one began to start, must survive whoever was answered.
        self.save_ledger();
        let differences = differences(change, &former, &self.config.model);
        match applied {
            Ok(()) => {
                let audit = match Noted::of(differences) {
                    Noted::Nothing if sets_deadline(change) => Noted::Done,
                    audit => audit,
                };
                Ok(Done { message, plan: report, audit })
            }
            Err(error) => Err(Refusal::failed(format!(
                "the file is changed, the tables not yet (lbd tries again): {error}"
            ))
            .after(differences)),
        }
    }

    /// Makes a model the one in force, and returns the former. What it says of this machine counts from the next
    /// start on.
    fn take(&mut self, model: Model) -> Model {
        if model.node != self.config.model.node {
            log::warn!("changes in [node] take effect when lbd is restarted");
        }
        let model = Model { node: self.config.model.node.clone(), ..model };
        let former = mem::replace(&mut self.config.model, model);
        self.fleet = fleet(&self.config.model);
        self.hooks.set(&self.config.model.hooks);
        former
    }

    /// Takes what was read of the file. What is bad is refused whole.
    pub(super) async fn reload(&mut self, Reading { read, .. }: Reading) {
        let result = match read {
            Ok(loaded) => self.load(loaded).await,
            // Its lines stand below each other.
            Err(reason) => Err(format!("\n{reason}")),
        };
        self.tally.reload(result.is_ok(), Timestamp::now());
        if let Err(error) = result {
            log::error!("not reloaded, the old configuration goes on:{error}");
        }
    }

    async fn load(&mut self, Loaded { text, model, rights }: Loaded) -> Result<(), String> {
        let ledger = self.turned(&model, None);
        self.plan(&model, &self.state, &ledger).map_err(|error| format!(" {error}"))?;
        self.config.text = text;
        self.take(model);
        self.gate.set(rights);
        self.ledger = ledger;
        self.track().await;
        self.reconcile();
        self.announce().await;
        self.changed(None, &format!("{} reloaded", self.config.path.display()));
        Ok(())
    }

    /// Stops forwarding and removes everything that outlives the daemon.
    pub(super) async fn detach(&mut self) -> Result<Done, Refusal> {
        // Its end would attach the balancers once more.
        self.end_captures().await;
        let node = &self.config.model.node;
        self.checking.close().await;
        dataplane::detach_all(&node.pin_dir).map_err(|error| Refusal::failed(error.to_string()))?;
        self.announcing
            .remove_all()
            .await
            .map_err(|error| Refusal::failed(format!("removing addresses: {error}")))?;
        let message = format!("detached from {}; lbd stops", node.interfaces.join(", "));
        log::info!("{message}");
        Ok(Done::new(message))
    }
}

fn came(result: &Result<Done, Refusal>) -> Came {
    match result {
        Ok(_) => Came::Applied,
        Err(refusal) if refusal.status >= 500 => Came::Failed,
        Err(_) => Came::Refused,
    }
}

/// Whether a drain, maybe one that is under way, is to end at another time: the configuration knows nothing of it.
fn sets_deadline(change: &Change) -> bool {
    matches!(change, Change::SetReal(_, _, patch) if matches!(patch.drain_timeout(), Ok(Some(_))))
}

fn edit(text: &str, change: &Change) -> Result<Edited, EditError> {
    match change {
        Change::AddVip(vip) => edit::add_vip(text, vip),
        Change::SetVip(name, patch) => edit::set_vip(text, name, patch),
        Change::RemoveVip(name) => edit::remove_vip(text, name),
        Change::AddReal(vip, real) => edit::add_real(text, vip, real),
        Change::SetReal(vip, address, patch) => edit::set_real(text, vip, *address, patch),
        Change::RemoveReal(vip, address, _) => edit::remove_real(text, vip, *address),
        Change::Apply(new) => Ok(Edited { text: new.text.clone(), model: new.model.clone() }),
    }
}

/// Refuses what moves more than the operator wants.
fn limit(report: &PlanReport, max_moved: Option<f64>) -> Result<(), Refusal> {
    let percent = |part: f64| format!("{:.2} %", part * 100.0);
    match max_moved {
        Some(most) if report.moved > most => Err(Refusal::conflict(format!(
            "{} of the hash space would move, more than {}: nothing was changed; see `lbctl plan`, or \
             allow more with --max-moved",
            percent(report.moved),
            percent(most)
        ))),
        _ => Ok(()),
    }
}

fn refused(error: EditError) -> Refusal {
    let detail = error.to_string();
    match error {
        EditError::NoSuchVip { .. } | EditError::NoSuchReal { .. } => Refusal::missing(detail),
        EditError::Unsafe { .. } => Refusal::conflict(detail),
        EditError::DuplicateVip { .. }
        | EditError::DuplicateReal { .. }
        | EditError::Check(_)
        | EditError::Invalid(_) => Refusal::invalid(detail),
    }
}

fn describe(change: &Change) -> String {
    match change {
        Change::AddVip(vip) => {
            format!("vip \"{}\" added: {} {}", vip.name, vip.address, vip.ports.join(" "))
        }
        Change::SetVip(name, patch) => match patch.options.state.as_deref() {
            Some(state) => format!("vip \"{name}\" is {state}"),
            None => format!("vip \"{name}\" changed"),
        },
        Change::RemoveVip(name) => format!("vip \"{name}\" removed"),
        Change::AddReal(vip, real) => format!("real {} added to vip \"{vip}\"", real.address),
        Change::SetReal(vip, address, patch) => match patch.state.as_deref() {
            Some("drain") => format!(
                "real {address} of vip \"{vip}\" drains: it gets no new flows, the open ones stay until they end"
            ),
            Some(state) => format!("real {address} of vip \"{vip}\" is {state}"),
            None if patch.force_up == Some(true) => format!(
                "real {address} of vip \"{vip}\" counts as up whatever its checks say, until `real force-up --release` or `real enable`"
            ),
            None if patch.force_up == Some(false) => {
                format!("real {address} of vip \"{vip}\" is what its checks say")
            }
            None => format!("real {address} of vip \"{vip}\" changed"),
        },
        Change::RemoveReal(vip, address, true) => {
            format!("real {address} removed from vip \"{vip}\", its flows are given up")
        }
        Change::RemoveReal(vip, address, false) => format!(
            "real {address} removed from vip \"{vip}\": it gets no new flows, the open ones stay until they end"
        ),
        Change::Apply(_) => "the configuration was replaced".to_owned(),
    }
}
