//! What the service counts, in Prometheus' text format.

use crate::service::Service;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

/// Upper bounds in seconds.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

#[derive(Clone, Debug, Default)]
struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        self.counts[BOUNDS.partition_point(|&b| b < seconds)] += 1;
        self.sum += seconds;
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let mut total = 0;
        for (i, count) in self.counts.iter().enumerate() {
            total += count;
            let bound = BOUNDS.get(i).map_or("+Inf".to_string(), f64::to_string);
            _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
        }
        _ = writeln!(out, "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {total}", self.sum);
    }
}

/// Of one model.
#[derive(Clone, Debug, Default)]
struct OfModel {
    prompt: u64,
    cached: u64,
    generated: u64,
    finished: BTreeMap<&'static str, u64>,
    queue: Histogram,
    first: Histogram,
    between: Histogram,
    whole: Histogram,
}

/// All counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    models: Mutex<BTreeMap<String, OfModel>>,
    /// by route and status
    responses: Mutex<BTreeMap<(String, u16), u64>>,
}

/// What is known of an answer at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) finish: &'static str,
    pub(crate) usage: nurture_infer::engine::Usage,
}

impl Metrics {
    fn of(&self, model: &str, f: impl FnOnce(&mut OfModel)) {
        let mut models = self.models.lock().unwrap_or_else(|e| e.into_inner());
        match models.get_mut(model) {
            Some(m) => f(m),
            None => f(models.entry(model.to_string()).or_default()),
        }
    }

    /// An answer ended.
    pub(crate) fn ended(&self, model: &str, ended: Ended) {
        self.of(model, |m| {
            let u = ended.usage;
            if u.began {
                m.prompt += u.prompt as u64;
            }
            m.cached += u.cached as u64;
            m.generated += u.generated as u64;
            *m.finished.entry(ended.finish).or_default() += 1;
            m.queue.add(u.queued);
            if let Some(first) = u.first {
                m.first.add(first);
            }
            m.whole.add(u.total);
        });
    }

    /// Pauses between an answer's tokens.
    pub(crate) fn between(&self, model: &str, pauses: &[Duration]) {
        if !pauses.is_empty() {
            self.of(model, |m| pauses.iter().for_each(|&p| m.between.add(p)));
        }
    }

    /// A response began.
    pub(crate) fn responded(&self, route: &str, status: u16) {
        let mut responses = self.responses.lock().unwrap_or_else(|e| e.into_inner());
        *responses.entry((route.to_string(), status)).or_default() += 1;
    }

    /// The page that Prometheus reads.
    pub(crate) fn page(&self, service: &Service) -> String {
        let mut out = String::new();
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        let responses = self.responses.lock().unwrap_or_else(|e| e.into_inner()).clone();
        head(&mut out, "nurture_http_responses_total", "counter", "Responses by route and status.");
        for ((route, status), n) in responses {
            _ = writeln!(out, "nurture_http_responses_total{{route=\"{route}\",status=\"{status}\"}} {n}");
        }
        let models = self.models.lock().unwrap_or_else(|e| e.into_inner()).clone();
        type Counter = (&'static str, &'static str, fn(&OfModel) -> u64);
        let counters: [Counter; 3] = [
            ("nurture_prompt_tokens_total", "Tokens of prompts.", |m| m.prompt),
            ("nurture_cached_tokens_total", "Tokens of prompts whose keys were kept from before.", |m| {
                m.cached
            }),
            ("nurture_generated_tokens_total", "Tokens generated.", |m| m.generated),
        ];
        for (name, help, value) in counters {
            head(&mut out, name, "counter", help);
            for (model, m) in &models {
                _ = writeln!(out, "{name}{{model=\"{}\"}} {}", escaped(model), value(m));
            }
        }
        head(&mut out, "nurture_requests_total", "counter", "Answers by their end.");
        for (model, m) in &models {
            for (finish, n) in &m.finished {
                let model = escaped(model);
                _ = writeln!(out, "nurture_requests_total{{model=\"{model}\",finish=\"{finish}\"}} {n}");
            }
        }
        type Times = (&'static str, &'static str, fn(&OfModel) -> &Histogram);
        let times: [Times; 4] = [
            ("nurture_queue_seconds", "Time until a request first ran.", |m| &m.queue),
            ("nurture_first_token_seconds", "Time until the first token.", |m| &m.first),
            ("nurture_inter_token_seconds", "Time between two tokens of an answer.", |m| &m.between),
            ("nurture_request_seconds", "Time of a request in all.", |m| &m.whole),
        ];
        for (name, help, value) in times {
            head(&mut out, name, "histogram", help);
            for (model, m) in &models {
                value(m).write(&mut out, name, &format!("model=\"{}\"", escaped(model)));
            }
        }
        let s = service.engine().stats();
        let gauges: [(&str, &str, f64); 12] = [
            ("nurture_running", "Sequences that run.", s.running as f64),
            ("nurture_waiting", "Requests that wait.", s.waiting as f64),
            ("nurture_pages", "Pages for keys and values.", s.pages as f64),
            ("nurture_pages_free", "Pages that nobody holds.", s.pages_free as f64),
            ("nurture_pages_kept", "Pages kept for requests that begin alike.", s.pages_kept as f64),
            ("nurture_page_bytes", "Bytes of a page.", s.page_bytes as f64),
            ("nurture_last_step_seconds", "Time of the last step.", s.last_step.as_secs_f64()),
            ("nurture_rule_bytes", "Memory that schemas and forced tools hold.", service.rule_bytes() as f64),
            ("nurture_connections", "Open connections.", service.connections() as f64),
            ("nurture_adapters", "Adapters in service.", service.models().list().len() as f64 - 1.0),
            ("nurture_resident_bytes", "Memory of the process.", resident().unwrap_or(0) as f64),
            ("nurture_uptime_seconds", "Time since the start.", service.uptime().as_secs_f64()),
        ];
        for (name, help, value) in gauges {
            head(&mut out, name, "gauge", help);
            _ = writeln!(out, "{name} {value}");
        }
        let totals: [(&str, &str, f64); 4] = [
            ("nurture_steps_total", "Steps of the engine.", s.steps as f64),
            ("nurture_busy_seconds_total", "Time spent in steps.", s.busy.as_secs_f64()),
            (
                "nurture_preempted_total",
                "Sequences whose pages were taken away for others.",
                s.preempted as f64,
            ),
            ("nurture_cancelled_total", "Requests whose client went away.", s.ended[3] as f64),
        ];
        for (name, help, value) in totals {
            head(&mut out, name, "counter", help);
            _ = writeln!(out, "{name} {value}");
        }
        out
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Resident bytes of this process, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let mut h = Histogram::default();
        for ms in [1, 5, 6, 100_000_000] {
            h.add(Duration::from_millis(ms));
        }
        let mut out = String::new();
        h.write(&mut out, "x", "model=\"m\"");
        for line in [
            "x_bucket{model=\"m\",le=\"0.005\"} 2",
            "x_bucket{model=\"m\",le=\"0.01\"} 3",
            "x_bucket{model=\"m\",le=\"300\"} 3",
            "x_bucket{model=\"m\",le=\"+Inf\"} 4",
            "x_count{model=\"m\"} 4",
        ] {
            assert!(out.lines().any(|l| l == line), "{line}: {out}");
        }
        assert_eq!(escaped("a\"b\\"), "a\\\"b\\\\");
    }

    #[test]
    fn a_prompt_that_nobody_read_is_not_counted() {
        let metrics = Metrics::default();
        for began in [false, true] {
            let usage = nurture_infer::engine::Usage { prompt: 7, began, ..Default::default() };
            metrics.ended("m", Ended { finish: "cancelled", usage });
        }
        metrics.of("m", |m| assert_eq!((m.prompt, m.finished["cancelled"]), (7, 2)));
    }
}
