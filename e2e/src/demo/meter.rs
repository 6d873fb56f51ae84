//! What members count of themselves, next to what the kernel counts of their interfaces.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::DemoError;
use super::fleet::Fleet;
use super::observe::node_of;
use crate::InterfaceCounters;

/// A member that doesn't answer within this time isn't read.
const LIMIT: Duration = Duration::from_secs(5);

/// One pod's metrics, by name and labels as Prometheus writes them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(BTreeMap<String, f64>);

impl Sample {
    /// Reads the text format; comments and what isn't a number are passed over.
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        Self(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// The sum over all labels of a metric.
    fn sum(&self, metric: &str) -> f64 {
        let of = |name: &str| name.strip_prefix(metric).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        self.0.iter().filter(|(name, _)| of(name)).map(|(_, value)| value).sum()
    }
}

/// One pod at one moment.
#[derive(Clone, Debug)]
struct Reading {
    sample: Sample,
    interface: Option<InterfaceCounters>,
}

/// What the members of a fleet count from one moment on.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    first: BTreeMap<String, Reading>,
    last: BTreeMap<String, Reading>,
}

/// A sum that members tell, and the same as their interfaces have it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Payload bytes, as the members count them.
    pub accounted: u64,
    /// Bytes on the wire, as the kernel counts them; 0 where it can't be asked.
    pub carried: u64,
}

impl Traffic {
    /// How much more the wire carried, in percent of what is accounted for.
    pub fn difference(&self) -> f64 {
        (self.carried as f64 / self.accounted as f64 - 1.0) * 100.0
    }
}

impl Meter {
    /// Begins to count.
    pub async fn begin(fleet: &Fleet) -> Result<Self, DemoError> {
        let first = read(fleet).await?;
        Ok(Self { last: first.clone(), first })
    }

    /// Reads all members again. Those that don't answer any more keep what they last said.
    pub async fn update(&mut self, fleet: &Fleet) -> Result<(), DemoError> {
        self.last.extend(read(fleet).await?);
        Ok(())
    }

    /// The last value of a metric that one pod told.
    pub fn of(&self, pod: &str, metric: &str) -> u64 {
        self.last.get(pod).map_or(0.0, |reading| reading.sample.sum(metric)) as u64
    }

    /// The last values of a metric, summed over the members.
    pub fn level(&self, metric: &str) -> u64 {
        self.last.values().map(|reading| reading.sample.sum(metric)).sum::<f64>() as u64
    }

    /// By how much a counter grew since the beginning, summed over the members and over its labels.
    pub fn growth(&self, counter: &str) -> u64 {
        let grown = |(pod, last): (&String, &Reading)| last.sample.sum(counter) - self.before(pod, counter, last);
        self.last.iter().map(grown).sum::<f64>() as u64
    }

    /// What came in at the pods whose interfaces can still be asked, since the beginning.
    pub fn received(&self) -> Traffic {
        self.traffic("weft_rpc_received_bytes_total", |counters| counters.received)
    }

    /// What went out.
    pub fn sent(&self) -> Traffic {
        self.traffic("weft_rpc_sent_bytes_total", |counters| counters.sent)
    }

    fn traffic(&self, counter: &str, side: impl Fn(InterfaceCounters) -> u64) -> Traffic {
        let mut traffic = Traffic::default();
        let asked = self.last.values().any(|reading| reading.interface.is_some());
        for (pod, last) in &self.last {
            if let Some(now) = last.interface {
                let before = self.first.get(pod).and_then(|reading| reading.interface).unwrap_or_default();
                traffic.carried += side(now).saturating_sub(side(before));
            } else if asked {
                // Its end took its interface along.
                continue;
            }
            traffic.accounted += (last.sample.sum(counter) - self.before(pod, counter, last)) as u64;
        }
        traffic
    }

    /// A counter at the beginning. One that is lower now began again: its process did.
    fn before(&self, pod: &str, counter: &str, last: &Reading) -> f64 {
        let before = self.first.get(pod).map_or(0.0, |reading| reading.sample.sum(counter));
        if before > last.sample.sum(counter) { 0.0 } else { before }
    }
}

/// Reads all members that answer. Those that ended keep no interface that could be asked.
async fn read(fleet: &Fleet) -> Result<BTreeMap<String, Reading>, DemoError> {
    let snapshot = fleet.observer().now();
    let pods: Vec<Pod> = snapshot.component("member").cloned().collect();
    let samples = join_all(pods.iter().map(|pod| scrape(fleet, pod.name_any()))).await;
    let mut readings = BTreeMap::new();
    for (pod, sample) in pods.iter().zip(samples) {
        let Some(sample) = sample else { continue };
        let interface = interface(fleet, pod).await?;
        readings.insert(pod.name_any(), Reading { sample, interface });
    }
    Ok(readings)
}

/// Asks a member's admin port by way of the API server, which reaches pods wherever it runs.
async fn scrape(fleet: &Fleet, pod: String) -> Option<Sample> {
    let path = format!("/api/v1/namespaces/{}/pods/{pod}:7411/proxy/metrics", fleet.namespace());
    let request = http::Request::get(path).body(Vec::new()).ok()?;
    let text = tokio::time::timeout(LIMIT, fleet.stage().client().request_text(request)).await.ok()?.ok()?;
    Some(Sample::parse(&text))
}

async fn interface(fleet: &Fleet, pod: &Pod) -> Result<Option<InterfaceCounters>, DemoError> {
    let Some(cluster) = fleet.stage().cluster() else { return Ok(None) };
    let Some(worker) = node_of(pod).and_then(|node| cluster.worker_of_node(node)) else { return Ok(None) };
    let (namespace, pod) = (fleet.namespace().to_owned(), pod.name_any());
    fleet.stage().with_cluster(move |cluster| cluster.pod_counters(worker, &namespace, &pod)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP weft_rpc_received_bytes Payload.\nweft_rpc_received_bytes_total{service=\"writes\"} 70\n\
                        weft_rpc_received_bytes_total{service=\"repair\"} 5\nweft_store_slivers 3\n# EOF\n";

    fn reading(text: &str, received: u64) -> Reading {
        Reading { sample: Sample::parse(text), interface: Some(InterfaceCounters { received, sent: 0 }) }
    }

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let sample = Sample::parse(TEXT);
        assert_eq!(sample.sum("weft_rpc_received_bytes_total") as u64, 75);
        assert_eq!(sample.sum("weft_store_slivers") as u64, 3);
        assert_eq!(sample.sum("weft_rpc_received_bytes") as u64, 0);
    }

    #[test]
    fn a_counter_that_began_again_counts_from_nothing() {
        let more = TEXT.replace("70", "100");
        let less = TEXT.replace("70", "10");
        let meter = Meter {
            first: [("a".to_owned(), reading(TEXT, 100)), ("b".to_owned(), reading(TEXT, 100))].into(),
            last: [("a".to_owned(), reading(&more, 140)), ("b".to_owned(), reading(&less, 130))].into(),
        };
        assert_eq!(meter.growth("weft_rpc_received_bytes_total"), 30 + 15);
        let received = meter.received();
        assert_eq!((received.accounted, received.carried), (45, 70));
    }
}
