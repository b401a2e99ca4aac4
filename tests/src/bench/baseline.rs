//! Guards what was reached: the ratios of a run against those in `bench/baseline.json`.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::figure::{Better, Measure, Section};

/// By how much a ratio may be worse than the baseline's.
const TOLERANCE: f64 = 0.15;

/// Ratios by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baseline(BTreeMap<String, f64>);

impl Baseline {
    /// The ratios of a run.
    #[must_use]
    pub fn of(sections: &[Section]) -> Self {
        let ratio = |measure: &Measure| Some((measure.name.clone(), measure.guarded?));
        Self(sections.iter().flat_map(|section| &section.measures).filter_map(ratio).collect())
    }

    /// Reads what stands in a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| {
            format!("{}: `cargo xtask bench --update-baseline` writes it", path.display())
        })?;
        let ratios: BTreeMap<String, Value> =
            serde_json::from_str(&text).with_context(|| format!("{}", path.display()))?;
        let number = |(name, value): (String, Value)| {
            let ratio = value.as_f64().with_context(|| {
                format!("{}: `{name}` is {value}, and must be a number", path.display())
            })?;
            Ok((name, ratio))
        };
        Ok(Self(ratios.into_iter().map(number).collect::<Result<_>>()?))
    }

    /// Writes these over what stands in the file for the same names; others stay.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut all = if path.exists() { Self::read(path)? } else { Self::default() };
        all.0.extend(self.0.clone());
        let rounded: BTreeMap<&String, f64> =
            all.0.iter().map(|(name, ratio)| (name, round(*ratio))).collect();
        let text = serde_json::to_string_pretty(&rounded)? + "\n";
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// What is worse in a run than here, in words; a ratio that only one of both has is no finding.
    #[must_use]
    pub fn worse(&self, sections: &[Section]) -> Vec<String> {
        let measures = sections.iter().flat_map(|section| &section.measures);
        measures.filter_map(|measure| self.compare(measure)).collect()
    }

    fn compare(&self, measure: &Measure) -> Option<String> {
        let (now, before) = (measure.guarded?, *self.0.get(&measure.name)?);
        let worse = match measure.better {
            Better::Less => now / before,
            Better::More => before / now,
        };
        // What is not a number is worse.
        let good = worse <= 1.0 + TOLERANCE;
        (!good).then(|| {
            let percent = (worse - 1.0) * 100.0;
            let name = &measure.name;
            format!("{name}: {now:.3}, the baseline has {before:.3}: {percent:.0} % worse")
        })
    }
}

/// To three digits, so that a file does not change with every breath.
fn round(ratio: f64) -> f64 {
    let scale = 10_f64.powf(2.0 - ratio.abs().log10().floor());
    if scale.is_finite() { (ratio * scale).round() / scale } else { ratio }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cost: f64, gain: f64) -> Vec<Section> {
        let mut section = Section::new("Datapath");
        section.measures.push(Measure::ratio("cost", cost, Better::Less));
        section.measures.push(Measure::ratio("gain", gain, Better::More));
        vec![section]
    }

    #[test]
    fn a_ratio_that_is_worse_by_more_than_the_tolerance_is_found_from_either_side() {
        let baseline = Baseline::of(&run(1.0, 1.0));
        for (cost, gain, found) in [
            (1.0, 1.0, 0),
            (1.14, 0.88, 0),
            (0.1, 10.0, 0),
            (1.16, 1.0, 1),
            (1.0, 0.86, 1),
            (2.0, 0.5, 2),
            (f64::NAN, 1.0, 1),
        ] {
            assert_eq!(baseline.worse(&run(cost, gain)).len(), found, "{cost} {gain}");
        }
    }

    #[test]
    fn what_is_new_or_was_not_measured_is_no_finding() {
        assert!(Baseline::default().worse(&run(9.0, 0.1)).is_empty());
        assert!(Baseline::of(&run(1.0, 1.0)).worse(&[]).is_empty());
    }

    #[test]
    fn a_file_keeps_what_a_run_has_not_measured() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("baseline.json");
        Baseline::of(&run(1.23456, 0.5)).write(&path)?;
        let mut other = Section::new("Control");
        other.measures.push(Measure::ratio("load", 12345.6, Better::Less));
        Baseline::of(&[other]).write(&path)?;
        let Baseline(ratios) = Baseline::read(&path)?;
        let expected = [("cost", 1.23), ("gain", 0.5), ("load", 12300.0)];
        assert_eq!(ratios, expected.map(|(name, ratio)| (name.to_owned(), ratio)).into());
        Ok(())
    }

    #[test]
    fn a_file_with_something_else_is_refused() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("baseline.json");
        fs::write(&path, r#"{"cost": "low"}"#)?;
        let error = Baseline::read(&path).expect_err("no number").to_string();
        assert!(error.contains("`cost` is \"low\""), "{error}");
        Ok(())
    }
}
