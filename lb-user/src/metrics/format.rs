//! In which of the two formats a scrape is answered.

/// A format of text for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own, version 0.0.4, which every tool takes.
    Classic,
    /// OpenMetrics 1.0, for those who ask for it, as Prometheus does.
    OpenMetrics,
}

impl Format {
    /// What is asked for by the header `Accept` (RFC 9110, section 12.5.1): OpenMetrics where it is named and
    /// nothing else is liked better, else the classic one.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let (mut open, mut classic) = (0.0, 0.0);
        for range in header.split(',') {
            let mut words = range.split(';').map(str::trim);
            let name = words.next().unwrap_or_default().to_ascii_lowercase();
            let quality = words.find_map(|word| word.strip_prefix("q=")?.parse().ok());
            let quality: f64 = quality.unwrap_or(1.0);
            match name.as_str() {
                "application/openmetrics-text" => open = quality.max(open),
                "text/plain" => classic = quality.max(classic),
                _ => {}
            }
        }
        if open > 0.0 && open >= classic { Self::OpenMetrics } else { Self::Classic }
    }

    /// The header `Content-Type` of an answer in it.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Classic => prometheus::TEXT_FORMAT,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_names_openmetrics_gets_it_and_all_others_what_everybody_reads() {
        for (header, format) in [
            ("", Format::Classic),
            ("*/*", Format::Classic),
            ("text/plain", Format::Classic),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;version=1.0.0;q=0", Format::Classic),
            ("text/plain, Application/OpenMetrics-Text;q=0.5", Format::Classic),
            // Prometheus 2.42 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
                 q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(Format::accepted(header), format, "{header}");
        }
    }
}
