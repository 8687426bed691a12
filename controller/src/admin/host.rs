//! Exporters that the controller's own process serves: they are as their files say.

use std::collections::BTreeSet;

use super::{
    Engine, Issued, Kind, Status,
    refused::{about, check_labels},
    tokens::{Good, check_name, new_exporter, sign},
};
use crate::{leases, model::Labels, presence, store::Change};

/// Exporters of these names and labels exist from now on, marked as hosted, and each gets a token; those
/// of before stay good. Labels that an exporter gave itself when it registered stay. Hosted ones that are
/// not named any more are taken away, unless they are leased: the next call looks at those again. Gives
/// the tokens in the order of `exporters`.
///
/// # Errors
/// INVALID_ARGUMENT: a name or a label is none, or a name is there twice; FAILED_PRECONDITION: an
/// administrator made an exporter of that name, for another host. The text names the exporter, and
/// nothing changes. INTERNAL: it cannot be kept.
pub async fn host(engine: &Engine, exporters: &[(String, Labels)]) -> Result<Vec<Issued>, Status> {
    let mut named = BTreeSet::new();
    for (name, labels) in exporters {
        let in_exporter = |status| about(&format!("exporter {name:?}"), &status);
        check_name(name).map_err(in_exporter)?;
        check_labels(labels).map_err(in_exporter)?;
        if !named.insert(name.as_str()) {
            let text = format!("exporter {name:?} is there twice: each needs a name of its own");
            return Err(Status::invalid_argument(text));
        }
    }
    let plan = engine.change(|world, now| {
        let (mut changes, mut goods) = (Vec::new(), Vec::new());
        for (name, labels) in exporters {
            let known = world.exporters.get(name);
            if known.is_some_and(|known| !known.hosted) {
                return Err(Status::failed_precondition(format!(
                    "exporter {name:?} was made with `rigd controller create exporter` or `apply`, \
                     for another host, and a file here has the same name: give one of them another \
                     name, or delete that one"
                )));
            }
            let mut wanted = known.map_or_else(|| new_exporter(Labels::new(), now), Clone::clone);
            wanted.labels = presence::labelled(&wanted.labels, labels);
            wanted.hosted = true;
            goods.push(Good::from(&wanted));
            if known != Some(&wanted) {
                changes.push(Change::Exporter(name.clone(), Some(wanted)));
            }
        }
        let gone = world.exporters.iter().filter(|(name, exporter)| {
            exporter.hosted
                && !named.contains(name.as_str())
                && leases::current(world, name).is_none()
        });
        changes.extend(gone.map(|(name, _)| Change::Exporter(name.clone(), None)));
        Ok((goods, changes))
    });
    let goods = plan.await?;
    let named = exporters.iter().zip(goods);
    named
        .map(|((name, _), good)| sign(engine, Kind::Exporter, name, good))
        .collect()
}
